"""Kinds of point files: tables of numbers, markups of 3D Slicer, PCD, VTK."""
