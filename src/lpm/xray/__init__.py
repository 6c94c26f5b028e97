"""Chest radiographs: simulated, read, and fitted."""
