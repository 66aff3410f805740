"""Bots on messaging platforms, and messages to them."""
