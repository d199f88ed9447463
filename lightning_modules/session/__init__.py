"""Session: a fit or test of the command line, its callbacks, its checkpoint, its warnings."""
