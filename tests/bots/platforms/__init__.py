"""Tests of the adapters of chat platforms, against stand-ins of the platforms."""
