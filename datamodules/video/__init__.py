"""From a path to exact frames."""
