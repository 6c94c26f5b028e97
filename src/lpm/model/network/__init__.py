"""The paper's auto-decoder: network, losses, samples, and its training by one process or many."""
