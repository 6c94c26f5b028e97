"""DICOM: series of slices as volumes."""
