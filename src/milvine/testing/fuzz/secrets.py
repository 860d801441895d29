"""The file of tokens, what callers show as one, and the files of TLS."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from shutil import which

from milvine.events import Events
from milvine.server.security.certificates import Certificates, TlsUnusable
from milvine.server.security.roles import Role
from milvine.server.security.tokens import Tokens, TokensUnusable, create
from milvine.testing.fuzz.folder import places
from milvine.testing.fuzz.mutate import integer, json_text, json_value, mutated, text
from milvine.testing.fuzz.target import Wrong

_NAMES = ("certificate.pem", "key.pem")


class SecretTarget:
    """One case is a changed file, then a token shown to it; or a changed certificate or key, where
    openssl is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "tokens.json"
        self._token = create(self._file, "me", "read")
        create(self._file, "other", "admin")
        self._good = self._file.read_bytes()
        self._pems = _self_signed(folder)

    def run(self, random: Random) -> str:
        if self._pems and random.random() < 0.3:
            return self._tls(random)
        self._file.write_bytes(self._changed(random))
        try:
            tokens = Tokens(self._file)
        except TokensUnusable:
            return "tokens refused"
        shown = random.choice(
            (
                self._token,
                text(random),
                mutated(random, self._token.encode()).decode("utf-8", "replace"),
            )
        )
        found = tokens.find(shown)
        if shown != self._token and found.role is not Role.OPEN:
            raise Wrong(f"{shown!r} was let in as {found}")
        return "let in" if found.role is not Role.OPEN else "not let in"

    def _changed(self, random: Random) -> bytes:
        pick = random.random()
        if pick < 0.3:
            return self._good
        if pick < 0.6:
            return mutated(random, self._good)
        document = json.loads(self._good)
        holder, key = random.choice(places(document))
        holder[key] = random.choice(
            (json_value(random), integer(random), text(random)[:300], [], {})
        )
        return json_text(random, document).encode()

    def _tls(self, random: Random) -> str:
        for name, data in zip(_NAMES, self._pems, strict=True):
            changed = mutated(random, data, self._pems) if random.random() < 0.6 else data
            (self._folder / name).write_bytes(changed)
        try:
            certificate, key = (str(self._folder / name) for name in _NAMES)
            Certificates(certificate, key, "", Events())
        except TlsUnusable:
            return "tls refused"
        return "tls taken"

    def close(self) -> None:
        """Nothing was started."""


def _self_signed(folder: Path) -> tuple[bytes, ...]:
    if which("openssl") is None:
        return ()
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += [
        "-subj",
        "/CN=x",
        "-days",
        "2",
        "-out",
        str(folder / _NAMES[0]),
        "-keyout",
        str(folder / _NAMES[1]),
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return ()
    return tuple((folder / name).read_bytes() for name in _NAMES)
