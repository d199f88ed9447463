"""One pass over the frames of a video, an array or a camera, in windows that overlap."""
