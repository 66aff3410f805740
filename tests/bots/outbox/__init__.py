"""Tests of the outbox, against platforms that do what a script says."""
