"""Health, metrics and the published documentation."""
