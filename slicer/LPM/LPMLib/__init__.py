"""What the module does apart from Slicer: environment, commands and runs of `lpm`, and reading what it writes.

Nothing here imports slicer, qt or vtk, nor needs more than NumPy and Python 3.9, which Slicer's own Python has.
"""
