"""Collections of documents, and the search for passages in them."""
