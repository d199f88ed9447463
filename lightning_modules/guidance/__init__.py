"""Guidance: what can be typed, by topic; configs with their targets; completion for shells."""
