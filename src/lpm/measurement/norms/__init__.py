"""Norms: what lungs of a cohort measure, by age, sex and body height, and where others stand among them."""
