"""Certificates of an authority made for the tests, as the files a server and its clients
are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key."""

    certificate: str
    key: str


class Authority:
    """Issues certificates into a folder; `file` is its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._ca = folder, trustme.CA()
        self.file = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, **more: Any) -> Pair:
        """A certificate for `hosts` (localhost and 127.0.0.1 where none is named); one of the name
        is replaced.
        """
        made = self._ca.issue_cert(*(hosts or ("localhost", "127.0.0.1")), **more)
        pair = Pair(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        Path(pair.key).write_bytes(made.private_key_pem.bytes())
        Path(pair.certificate).write_bytes(chain)
        return pair
