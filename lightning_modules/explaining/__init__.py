"""Pictures of what a network has learned, and the numbers behind them."""
