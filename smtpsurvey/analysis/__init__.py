"""What a survey says: counts in, tables out. Nothing here reads a database or knows how a table is shown."""
