"""Kinds of evidence: what each says of a shape and its pose, in the terms that a joint fit adds up."""
