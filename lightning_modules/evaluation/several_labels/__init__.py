"""Scores of videos with several classes: results, and comparisons by resampling the videos."""
