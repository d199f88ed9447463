"""How a run survives."""
