"""Roles: system prompts with names, for requests and profiles to choose."""
