"""How lungs move: points carried from one fit to another, and through a breath."""
