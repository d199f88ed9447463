"""Clips: the frames and pixels that are taken of a video."""
