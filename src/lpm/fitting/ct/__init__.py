"""Lungs from a chest CT: found, filled where dense disease hides them, fitted."""
