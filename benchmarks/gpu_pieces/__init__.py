"""The pieces of `gpu_day.py`: each a module with `cells`, its measurements in their order."""
