"""`/v1`: OpenAI's API."""
