"""Exact frames from a path."""
