"""Attachments: bytes in, their kind found out, bytes out."""
