"""Robustness: one test on plain clips, and one for each corruption and severity."""
