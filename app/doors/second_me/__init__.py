"""Second Me's door: a chat with OpenAI's requests and answers, and roles."""
