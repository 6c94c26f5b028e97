"""Unseen lungs from an observation: the network is frozen, the latent and the pose are fitted."""
