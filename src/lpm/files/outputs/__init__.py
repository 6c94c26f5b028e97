"""What keeps outputs apart: from those of other runs, from inputs, and from what killed runs left behind."""
