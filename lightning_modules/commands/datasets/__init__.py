"""Commands that examine datasets, and make what a fit needs of them."""
