"""The auto-decoder of signed distances: decoder, losses, training, extraction, bundle."""
