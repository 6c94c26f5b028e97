"""The verbs of `lpm fit`: one for each kind of evidence."""
