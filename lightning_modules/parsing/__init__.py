"""Parsing: words, config files and null values become arguments, or one sentence."""
