"""Indices of videos: made, noted, and kept."""
