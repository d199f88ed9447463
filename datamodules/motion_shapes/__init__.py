"""The generated dataset of eight motions."""
