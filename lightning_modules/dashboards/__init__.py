"""Pictures, clips, tables and charts of a run, in W&B and in TensorBoard."""
