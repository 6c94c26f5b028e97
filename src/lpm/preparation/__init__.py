"""The stage `prepare`: labels in, a cohort of meshes and samples out."""
