"""Scores of videos with several classes: results, and comparisons with intervals."""
