"""Transcoding: videos encoded once more, so that training decodes them faster."""
