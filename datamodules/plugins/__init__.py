"""What people bring: their own classes, which are trusted, and what they say of themselves."""
