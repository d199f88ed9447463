"""Callbacks of a fit or a test."""
