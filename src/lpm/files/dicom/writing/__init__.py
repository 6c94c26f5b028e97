"""DICOM written beside the series that lungs were found in: segments, structure sets, encapsulated meshes."""
