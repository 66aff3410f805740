"""Palaver's tests."""
