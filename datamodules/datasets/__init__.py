"""One file per dataset: what its download looks like."""
