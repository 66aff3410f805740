"""The ASGI servers that Palaver can run on, each behind one function of the same shape."""
