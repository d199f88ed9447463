"""From logits to a number."""
