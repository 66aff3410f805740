"""Sessions, messages, runs, and the log that subscribers read."""
