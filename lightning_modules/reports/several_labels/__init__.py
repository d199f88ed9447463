"""Reports on videos with several classes."""
