"""Size and shape of structures, from meshes and labels, as a clinician reads them: units in every name."""
