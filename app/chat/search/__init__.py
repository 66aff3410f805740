"""Full-text search in a user's messages, indexed from the first search on."""
