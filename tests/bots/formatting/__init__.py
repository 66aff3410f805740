"""Tests of texts for platforms."""
