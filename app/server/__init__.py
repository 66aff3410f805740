"""The ASGI servers that Palaver runs on, and the life of their process."""
