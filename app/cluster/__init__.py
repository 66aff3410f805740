"""Servers that share a database: who there is, and what they tell each other."""
