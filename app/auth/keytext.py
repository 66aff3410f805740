"""The text of a key: `plv_`, 32 random base62 characters, and a checksum of six; others begin with more than `plv_`.

The checksum refuses a mistyped key before any look-up, and lets secret scanners tell a real key from a look-alike.
"""

import secrets
import string
import zlib

PREFIX = "plv_"
TOKEN_PREFIX = "plv_token_"  # noqa: S105  # how a browser token begins
SESSION_PREFIX = "plv_session_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_CHARS = 32  # 190 bits
CHECKSUM_CHARS = 6  # CRC-32 in base62
VISIBLE_CHARS = 10


def new_key_text(prefix: str = PREFIX) -> str:
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
    return f"{prefix}{body}{_checksum(body)}"


def is_well_formed(text: str, prefix: str = PREFIX) -> bool:
    """Check the form and the checksum of a key's text."""
    if len(text) != len(prefix) + RANDOM_CHARS + CHECKSUM_CHARS or not text.startswith(prefix) or not text.isascii():
        return False
    body, checksum = text[len(prefix) : -CHECKSUM_CHARS], text[-CHECKSUM_CHARS:]
    return _checksum(body) == checksum


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
