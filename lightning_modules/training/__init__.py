"""Training: weights to start from, optimization, metrics and averages."""
