"""The datasets, one file each, as they are downloaded."""
