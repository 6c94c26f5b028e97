"""What each verb ends in: one HTML file that a person can open, read, print and send on."""
