"""Verbs about many fitted lungs together."""
