"""Chores of those who work on Palaver; nothing here is installed with it."""
