"""API keys: who is calling, what they may do, and as whom."""
