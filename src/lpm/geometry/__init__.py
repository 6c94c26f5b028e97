"""Shapes as numbers: frames, volumes, meshes, distances, surfaces. No network, no files."""
