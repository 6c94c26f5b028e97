"""The population that a model learnt: new lungs, and knobs with names."""
