"""Which frames and pixels of a video are a clip."""
