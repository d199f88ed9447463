"""What can be typed: each file reads options and calls a room."""
