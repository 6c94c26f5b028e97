"""The command line and the demo: parse, read, call one library function, write."""
