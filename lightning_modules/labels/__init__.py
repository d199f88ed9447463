"""Labels: what logits say of the classes, losses and metrics by the form of the labels."""
