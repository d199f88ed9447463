"""Classes of users: which are trusted, and their descriptions in checkpoints and configs."""
