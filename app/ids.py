"""Identifiers."""

import os

_VERSION_AND_VARIANT = 0xF << 76 | 0x3 << 62
_RANDOM_UUID = 0x4 << 76 | 0x2 << 62


def new_id() -> str:
    """A random UUID in its text form: cannot be guessed, so that knowing one means having been told it.

    The same as `str(uuid.uuid4())` in less than half the time, which counts because every request has one.
    """
    number = int.from_bytes(os.urandom(16), "big") & ~_VERSION_AND_VARIANT | _RANDOM_UUID
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
