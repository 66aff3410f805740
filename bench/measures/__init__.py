"""The measurements: each starts what it needs, and leaves nothing running."""
