"""Runs: their folders, identities, loggers and versions."""
