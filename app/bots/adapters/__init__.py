"""One module for each kind of platform that a bot can write to."""
