"""Commands: each file reads options and calls another package."""
