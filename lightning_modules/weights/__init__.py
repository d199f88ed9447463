"""Weights from elsewhere as checkpoints of this project: names, classes, files, the Hub."""
