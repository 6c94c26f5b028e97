"""What shape and pose cannot express: the smooth residual (model discrepancy) about the decoder, and noise."""
