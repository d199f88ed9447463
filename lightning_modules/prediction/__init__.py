"""Labels, times and features from a trained module: of videos, arrays and live sources."""
