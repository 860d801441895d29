"""Repair of folders and restoring of backups that somebody changed: they end in words, and write
nowhere else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

from milvine.errors import MilvineError, OperatorError
from milvine.offline.backup import backup
from milvine.offline.manifest import MANIFEST
from milvine.offline.repair import repair
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.storage.checksum import crc32c
from milvine.testing.by_name import DatabaseByName
from milvine.testing.fuzz.folder import change, kind_of, places, read_everything
from milvine.testing.fuzz.mutate import integer, json_text, json_value, text
from milvine.testing.fuzz.target import Wrong
from milvine.testing.offline import QUIET, make_sample

_ROWS = 120


class MendingTarget:
    """One case is one changed file of a folder that is repaired, or of a backup that is
    restored.
    """

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._sample, self._backup = folder / "sample", folder / "backups"
        self._model = make_sample(self._sample, _ROWS)
        DatabaseByName.open(self._sample, QUIET).close()
        self._backup.mkdir()
        backup(self._sample, self._backup)

    def run(self, random: Random) -> str:
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()
        return self._repair(random) if random.random() < 0.5 else self._restore(random)

    def _repair(self, random: Random) -> str:
        root = self._home / "data"
        shutil.copytree(self._sample, root)
        path = random.choice(
            sorted(p for p in root.rglob("*") if p.is_file() and not p.name.endswith("-shm"))
        )
        change(random, path)
        try:
            repair(root, skip_log_damage=True, dry_run=False, ignore_format=random.random() < 0.5)
            found = verify(root).findings
        except OperatorError:
            return "repair refused"
        return self._read(root, f"{kind_of(path)} repaired" + (", with findings" if found else ""))

    def _restore(self, random: Random) -> str:
        backups = self._home / "backups"
        shutil.copytree(self._backup, backups)
        paths = sorted(p for p in backups.rglob("*") if p.is_file())
        manifest = next(p for p in paths if p.name == MANIFEST)
        if random.random() < 0.6:
            manifest.write_bytes(_lying_manifest(random, manifest.read_bytes()))
        else:
            change(random, random.choice(paths))
        try:
            restore(backups, self._home / "data", indexes=random.random() < 0.5)
        except OperatorError:
            what = "restore refused"
        else:
            what = self._read(self._home / "data", "restored")
        if strangers := {p.name for p in self._home.iterdir()} - {"backups", "data"}:
            raise Wrong(f"restoring left {strangers}")
        return what

    def _read(self, root: Path, what: str) -> str:
        try:
            with DatabaseByName.open(root, QUIET) as db:
                read_everything(db, self._model)
        except MilvineError:
            return what + ", not opened"
        return what

    def close(self) -> None:
        """Every case closes its own database."""


def _lying_manifest(random: Random, data: bytes) -> bytes:
    """With something changed, sealed again."""
    held = json.loads(data)
    holder, key = random.choice(places(held["body"]))
    if random.random() < 0.1:
        del holder[key]
    else:
        names = (
            "../escaped",
            "segments/../../escaped",
            "/tmp/escaped",
            "wal/../FORMAT",
            "FORMAT\n",
            "segments/rows-1.mlv",
        )
        holder[key] = random.choice(
            (json_value(random), integer(random), text(random)[:300], random.choice(names), 10**30)
        )
    try:
        held["crc32c"] = crc32c(
            json.dumps(held["body"], sort_keys=True, separators=(",", ":")).encode()
        )
    except TypeError:
        return data[: len(data) // 2]
    return json.dumps(held).encode() if random.random() < 0.9 else json_text(random, held).encode()
