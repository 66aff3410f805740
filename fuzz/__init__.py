"""Fuzzing: what comes from the network, and must not break the code that reads it."""
