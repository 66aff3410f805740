"""Profiles: the settings by which a bot answers, in files that people edit."""
