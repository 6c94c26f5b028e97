"""Segments that files name: of 3D Slicer, and one file an organ."""
