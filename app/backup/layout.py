"""The names in a data folder and in a backup of it."""

DATABASE = "palaver.db"
ATTACHMENTS = "attachments"
PROFILES = "configs"
SETTINGS = "palaver.toml"
MASTER_KEY = "secret.key"
MANIFEST = "manifest.json"

JOURNAL = "restore.json"
"""There while a restore is being carried out."""

ALWAYS_REPLACED = (DATABASE, ATTACHMENTS, PROFILES)
"""Replaced by a restore even when the backup has none of it."""

CONTENTS = (*ALWAYS_REPLACED, SETTINGS, MASTER_KEY)
"""The parts of a data folder that a backup takes."""

BESIDE_DATABASE = (f"{DATABASE}-wal", f"{DATABASE}-shm", f"{ATTACHMENTS}.databases")
"""Files beside the database, of SQLite and of Palaver, that belong to no other one."""
