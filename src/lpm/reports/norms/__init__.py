"""Where lungs stand in a norm."""
