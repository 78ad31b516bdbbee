"""Ed25519 signatures over journal entries (extra ``sign``).

A signature covers its entry's hash and, through ``prev``, every entry before. Keys are PEM files, made for instance
with ``openssl genpkey -algorithm ed25519``. A key says which file signed, not who held it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["KeySigner", "is_valid", "read_public_key"]


def _library() -> Any:
    """The parts of the cryptography package that are used; UsageError when the extra is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError("signatures need the extra 'sign': pip install 'nerveplan[sign]'") from error
    return serialization, ed25519


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"the key file '{path.name}' cannot be read") from error


class KeySigner:
    """Signs with a private key; a `planner.record.Signer`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> KeySigner:
        """Read an unencrypted PEM file; anything but an Ed25519 private key is a UsageError."""
        serialization, ed25519 = _library()
        try:
            key = serialization.load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError) as error:
            raise UsageError(f"'{path.name}' is not an unencrypted private key in PEM form") from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise UsageError(f"'{path.name}' is not an Ed25519 key")
        return cls(key)

    @property
    def public_key(self) -> str:
        """64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, entry_hash: str) -> str:
        """128 hexadecimal digits."""
        return self._key.sign(bytes.fromhex(entry_hash)).hex()


def read_public_key(path: Path) -> str:
    """A PEM file with an Ed25519 public key, as 64 hexadecimal digits."""
    serialization, ed25519 = _library()
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as error:
        raise UsageError(f"'{path.name}' is not a public key in PEM form") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UsageError(f"'{path.name}' is not an Ed25519 key")
    digits: str = key.public_bytes_raw().hex()
    return digits


def is_valid(public_key: str, entry_hash: str, signature: str) -> bool:
    """Whether a signature is that key's over an entry's hash; all three hexadecimal."""
    from cryptography.exceptions import InvalidSignature

    _, ed25519 = _library()
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), bytes.fromhex(entry_hash))
    except (InvalidSignature, ValueError):
        return False
    return True
