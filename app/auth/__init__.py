"""API keys: the callers, their scopes and the users they act as."""
