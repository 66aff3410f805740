"""One master key, and the keys derived from it: one to hash API keys with, one to encrypt secrets at rest."""

import base64
import hmac
import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import Unavailable
from app.written import cut, decode_utf8

KEY_BYTES = 32


class SecretBox:
    """Hashes and encrypts with keys derived (HKDF-SHA256) from one master key."""

    def __init__(self, master_key: bytes) -> None:
        hash_key = _derive(master_key, b"palaver api key hash v1")
        self.digest: Callable[[bytes], bytes] = partial(hmac.digest, hash_key, digest="sha256")
        """Hash a random secret, such as an API key (HMAC-SHA256, 32 bytes)."""
        self._fernet = Fernet(base64.urlsafe_b64encode(_derive(master_key, b"palaver secrets at rest v1")))

    def encrypt(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def decrypt(self, token: bytes) -> bytes:
        """Raises Unavailable for a token of another master key."""
        try:
            return self._fernet.decrypt(token)
        except InvalidToken as error:
            raise Unavailable("A stored secret cannot be read with the present master key") from error


def load_or_create_master_key(path: Path) -> bytes:
    """Load the master key in the file at `path` (hex, readable by its owner only), or create it.

    It is created under a temporary name and linked into place, so that two processes starting at once agree on one key.
    Raises OSError, and ValueError when the file does not hold a key.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return parse_master_key(decode_utf8(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_master_key(text: str) -> bytes:
    """Parse a master key in hex. Raises ValueError for fewer than 32 bytes."""
    try:
        key = bytes.fromhex(cut(text))
    except ValueError:
        raise ValueError("the master key is not written in hexadecimal") from None
    if len(key) < KEY_BYTES:
        raise ValueError(f"the master key is shorter than {KEY_BYTES} bytes")
    return key


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(master_key)
