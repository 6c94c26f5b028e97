"""Work that may crash, hang or take all memory is done in a process of its own."""
