"""Profiles: how a bot answers, in files a person can edit."""
