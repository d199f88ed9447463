"""What watches a fit or a test."""
