"""A data folder of which one file was changed: opening, reading, verifying name the damage, or it
did not matter.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from milvine.errors import MilvineError, OperatorError
from milvine.limits import FILLER_ID
from milvine.offline.verify import verify
from milvine.segment.layout import TRAILER
from milvine.storage.checksum import crc32c
from milvine.testing.by_name import DatabaseByName
from milvine.testing.fuzz.mutate import integer, json_text, json_value, mutated, text
from milvine.testing.fuzz.target import Wrong
from milvine.testing.model import ModelDatabase
from milvine.testing.offline import QUIET, make_sample
from milvine.types import Query

_ROWS = 300
_SETTINGS = replace(QUIET, index_rows_min=64)


class FolderTarget:
    """One case is one changed file in a copy of a small database with every kind of file."""

    def __init__(self, folder: Path) -> None:
        self._sample, self._copy = folder / "sample", folder / "copy"
        self._model = make_sample(self._sample, _ROWS)

    def run(self, random: Random) -> str:
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._sample, self._copy)
        files = sorted(
            p for p in self._copy.rglob("*") if p.is_file() and not p.name.endswith("-shm")
        )
        path = random.choice(files)
        sealed = change(random, path)
        problems = verify(self._copy).findings
        mapped = random.random() < 0.5
        try:
            with DatabaseByName.open(self._copy, replace(_SETTINGS, mmap=mapped)) as db:
                refusals = read_everything(db, self._model)
        except OperatorError as error:
            return f"{kind_of(path)} refused" if str(error) else "refused without a word"
        if refusals and not problems and not sealed:
            raise Wrong(f"{path.name}: {refusals}, and verify found nothing")
        return f"{kind_of(path)} {'named when read' if refusals else 'of no effect'}"

    def close(self) -> None:
        """Every case closes its own database."""


def kind_of(path: Path) -> str:
    return (
        path.name
        if path.suffix == ""
        else path.suffix.removeprefix(".")
        if path.suffix != ".mlv"
        else "component"
    )


def change(random: Random, path: Path) -> bool:
    """Changes the file; True where its checksums were made to fit again."""
    data, pick = path.read_bytes(), random.random()
    if path.suffix == ".mlv" and pick < 0.5:
        path.write_bytes(_lying_footer(random, data))
        return True
    if path.suffix == ".sqlite" and pick < 0.5:
        return _other_value(random, path)
    if path.name == "FORMAT" and pick < 0.5:
        said = json_text(random, {"milvine_format": json_value(random)})
        path.write_text(said, "utf-8")
    else:
        path.write_bytes(mutated(random, data))
    return False


def _lying_footer(random: Random, data: bytes) -> bytes:
    """The component with a changed footer, sealed again."""
    start = len(data) - TRAILER.size
    length, _, version, magic = TRAILER.unpack(data[start:])
    footer = json.loads(data[start - length : start])
    holder, key = random.choice(list(places(footer)))
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice((integer(random), abs(integer(random)), json_value(random)))
    said = json.dumps(footer).encode()
    if random.random() < 0.1:
        said = random.choice((b"[" * 100_000, b"{}", b"null", mutated(random, said)))
    return data[: start - length] + said + TRAILER.pack(len(said), crc32c(said), version, magic)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or position) within a JSON value."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    found = []
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


def _other_value(random: Random, path: Path) -> bool:
    """One value, row or table of the catalog other than it was; its own checksums do not know."""
    with closing(sqlite3.connect(path)) as catalog:
        names = [
            row[0]
            for row in catalog.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
        ]
        table = random.choice([name for name in names if not name.startswith("sqlite_")])
        columns = [row[1] for row in catalog.execute(f'PRAGMA table_info("{table}")')]
        value = random.choice((None, integer(random), text(random)[:300], b"\x00\xff", 1.5, 1e300))
        statements = [f'UPDATE "{table}" SET "{random.choice(columns)}" = ?'] * 4
        statements += [f'DELETE FROM "{table}" WHERE rowid % 2 = ?', f'DROP TABLE "{table}"']
        statement = random.choice(statements)
        try:
            catalog.execute(statement, (value,) if "?" in statement else ())
            catalog.commit()
        except (sqlite3.Error, OverflowError):
            catalog.rollback()
    return True


def read_everything(db: DatabaseByName, model: ModelDatabase) -> list[str]:
    """Refusals met while all is read.

    Raises:
        Wrong: a row that is no row of the model, or has another vector.
    """
    refusals: list[str] = []
    for name in db.collections():
        try:
            for part in db.stats(name).partitions:
                for segment in part.segments:
                    _tolerant(
                        refusals,
                        lambda name=name, segment=segment: db.segment_ids(name, segment.name),
                    )
            _read_collection(db, model, name, refusals)
        except MilvineError as error:
            refusals.append(str(error))
    return refusals


def _tolerant(refusals: list[str], read: Any) -> Any:
    try:
        return read()
    except MilvineError as error:
        refusals.append(str(error))
        return None


def _read_collection(
    db: DatabaseByName, model: ModelDatabase, name: str, refusals: list[str]
) -> None:
    collection = db.definition(name)
    query = np.zeros((2, collection.width), collection.dtype)
    hits = _tolerant(refusals, lambda: db.search(name, Query(query, 10, {"nprobe": 8})))
    if not model.has_collection(name) or model.definition(name).dimension != collection.dimension:
        return
    for rows in model.table(name).partitions.values():
        for start in range(0, len(rows.ids), 1000):
            ids = rows.ids[start : start + 1000]
            got = _tolerant(refusals, lambda ids=ids: db.get(name, ids))
            if (
                got is not None
                and (got[1][got[0]] != rows.vectors[start : start + 1000][got[0]]).any()
            ):
                raise Wrong(f"{name}: a row has another vector than was stored")
    stored = {int(row_id) for rows in model.table(name).partitions.values() for row_id in rows.ids}
    if hits is not None and hits.nq and not set(hits.ids.ravel().tolist()) <= stored | {FILLER_ID}:
        refusals.append(f"{name}: rows that are not there were found")
