"""Tests of bots and of messages through them."""
