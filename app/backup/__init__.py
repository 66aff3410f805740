"""Backups of a data folder: one file that holds the database, attachments, profiles, settings and the master key.

The file is a tar. Its last member, `manifest.json`, names every other one with its size and SHA-256: a file that was
cut off has no manifest. Without the master key API keys and bots' secrets could not be read again; whoever has the file
can therefore do what the server can.
"""
