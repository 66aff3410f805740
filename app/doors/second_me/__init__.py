"""Second Me's door: its chat, which is OpenAI's with defaults of its own, and its roles."""
