"""Corruptions of test videos in five severities, as robustness is measured in the field."""
