"""Radiographs and their geometry, read from files and written."""
