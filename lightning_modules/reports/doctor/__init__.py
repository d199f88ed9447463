"""The report of an examination of a dataset."""
