"""Studies of many lungs: groups, covariates and pairs, tested by measures, shape and place."""
