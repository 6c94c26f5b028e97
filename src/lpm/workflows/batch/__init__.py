"""Many cases in one run: a folder a case, and tables of all of them."""
