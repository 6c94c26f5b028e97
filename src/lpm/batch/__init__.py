"""Many cases: found among files and folders, and shared out to workers."""
