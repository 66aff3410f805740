"""Runs: one reply each, made in a task of its own."""
