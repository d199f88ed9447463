"""Commands that tell about the tool itself: its networks, its configs, its words."""
