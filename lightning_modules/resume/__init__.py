"""Checkpoints, resumption and preemption of a run."""
