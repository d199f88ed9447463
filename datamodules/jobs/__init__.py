"""Long work: processes that may die or hang, and how far it is."""
