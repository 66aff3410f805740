"""`/v1`: the door that speaks OpenAI's API."""
