"""Evaluation: scores, comparisons, fusion and protocols of tests."""
