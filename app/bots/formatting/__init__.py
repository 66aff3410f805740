"""Texts for platforms: Markdown in their dialects, in pieces that they take."""
