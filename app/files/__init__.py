"""Attachments: uploads, their types, downloads, and what models get of them."""
