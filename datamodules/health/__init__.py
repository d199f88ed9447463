"""Whether a dataset is fit to train on."""
