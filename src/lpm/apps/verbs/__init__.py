"""The verbs of the command line, one file each, named as they are typed."""
