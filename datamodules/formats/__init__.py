"""Formats: what the bytes of containers and codecs say, read without FFmpeg."""
