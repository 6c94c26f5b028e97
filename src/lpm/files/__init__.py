"""Everything that is read from or written to a disk; the only code that knows LPS."""
