"""Frames that a graphics card decodes, proved frame by frame."""
