"""Collections of documents, their passages, and finding the passages that bear on a question."""
