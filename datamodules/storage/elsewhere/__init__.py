"""Files elsewhere: addresses, the blocks that are fetched of them, and what is kept of those."""
