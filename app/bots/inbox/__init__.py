"""Events from platforms: stored first, then made into turns of a chat."""
