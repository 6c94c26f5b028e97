"""HTML reports of each verb: one file to open, read, print and send on."""
