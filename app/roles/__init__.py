"""Roles: how a bot is to speak, under a name that requests and profiles can give."""
