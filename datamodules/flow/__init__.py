"""Optical flow: made, stored and read beside the frames."""
