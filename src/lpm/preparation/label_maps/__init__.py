"""Label maps of any tool: what their values mean, and which lung is which."""
