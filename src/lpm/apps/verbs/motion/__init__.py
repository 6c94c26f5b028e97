"""Verbs of lungs that move."""
