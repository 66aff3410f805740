"""Completions in OpenAI's form, for the doors that speak it."""
