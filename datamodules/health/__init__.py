"""Checks that a dataset is fit to train on."""
