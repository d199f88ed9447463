"""Long work: passes over a dataset, processes that may die or hang, devices, and progress."""
