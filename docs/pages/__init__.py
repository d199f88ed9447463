"""Pages of the site that are made from the code, and the site's other words: see `hook`."""
