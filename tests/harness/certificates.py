"""An authority of the test's own, and what it certifies, as the PEM files that Kafka and its clients want."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """A certificate and its private key."""

    certfile: Path
    keyfile: Path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._ca = folder, trustme.CA()
        self.cafile = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.cafile))

    def certify(self, name: str, *hosts: str, password: str = "") -> Pair:
        """Return a new pair for `name`; its key is PKCS#8, which is all that Kafka reads."""
        made = self._ca.issue_cert(*(hosts or (f"{name}.example.com",)), common_name=name)
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        lock = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certfile.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        pair.keyfile.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        return pair
