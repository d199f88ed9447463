"""Where a run lives."""
