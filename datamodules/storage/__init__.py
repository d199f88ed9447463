"""Things to read from: a path, a member of an archive, or an address; a ground floor."""
