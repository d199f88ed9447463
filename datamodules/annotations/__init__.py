"""From list files to a table of videos."""
