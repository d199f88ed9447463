"""Datasets packed into tar shards, under the names that they had."""
