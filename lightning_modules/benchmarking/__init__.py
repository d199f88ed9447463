"""MotionShapes as an instrument: which networks use the order of frames."""
