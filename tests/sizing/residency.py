"""Run as a process of its own: opens a database, loads one collection after another, and prints
what each took.

For each collection: bytes of its files that are resident in mappings of this process, and bytes
that are not files: allocated ones (RssAnon) and those of files that lie in memory.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from pathlib import Path

import numpy as np

from milvine.config import Settings
from milvine.engine.database import Database

PARAMS = {"nprobe": 8, "ef": 40, "search_length": 40, "search_k": 200}
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ .{4} \S+ \S+ \d+ +(.*)$")


def mapped(names: tuple[str, ...], field: str = "Rss") -> int:
    """Bytes of the mappings whose names end with one of `names`."""
    total, counted = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        head = _MAPPING.match(line)
        if head:
            counted = head[1].removesuffix(" (deleted)").endswith(names)
        elif counted and line.startswith(f"{field}:"):
            total += int(line.split()[1]) * 1024
    return total


def allocated() -> int:
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"RssAnon:\s+(\d+)", status)
    assert match
    return int(match[1]) * 1024 + mapped(("/memfd:milvine",), "Size")


def look(database: Database, name: str) -> None:
    """Load it and search it."""
    database.collection(name).preload()
    collection = database.collection(name).definition
    query = np.ones((1, collection.width), collection.dtype)
    database.collection(name).search(query, 3, PARAMS)


def main(folder: str, warm: list[str], names: list[str]) -> None:
    with Database.open(folder, Settings(background=False, search_threads=1)) as database:
        for name in warm:
            look(database, name)
            allocated()  # so that looking is warm as well
        found = {}
        for name in names:
            before = allocated()
            look(database, name)
            files = tuple(
                f
                for s in database.collection(name).state.version.segments
                for f in s.segment.needed
            )
            found[name] = {"mapped": mapped(files), "anonymous": allocated() - before}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:]))
