"""Reports of a comparison: rows, files, plots and a page."""
