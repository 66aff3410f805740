"""Completions in OpenAI's form, shared by its doors."""
