"""Named points of the write path where a test may end the process or have the disk refuse.

Nothing happens at them unless `milvine.testing.faults` armed some: passing one costs a look at an
empty dict. A point before a write or a sync may raise what the operating system raises there; the
others, between one step and the next, are for killing only.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS: dict[str, bool] = {
    "log.write": True,
    "log.sync": True,
    "log.synced": False,
    "log.repair": True,
    "log.new_file": True,
    "log.file_started": False,
    "log.trim": True,
    "log.trimmed": False,
    "apply.done": False,
    "file.create": True,
    "file.write": True,
    "file.sync": True,
    "file.rename": True,
    "file.renamed": True,
    "file.remove": True,
    "file.removed": False,
    "flush.sealed": False,
    "flush.rows_written": False,
    "flush.collection_written": False,
    "flush.written": False,
    "flush.committed": False,
    "flush.published": False,
    "merge.written": False,
    "merge.committed": False,
    "build.written": False,
    "build.committed": False,
    "indexes.taken_out": False,
    "drop.committed": False,
    "drop.published": False,
    "catalog.begin": True,
    "catalog.commit": True,
    "catalog.committed": False,
    "definition.write": True,
    "definition.written": False,
    "open.catalog_read": False,
    "open.replayed": False,
    "open.swept": False,
    "open.log_cut": False,
}
"""Every point, and whether the disk may refuse there."""

armed: dict[str, Callable[[], None]] = {}
"""What happens at a point; empty in production."""


def at(point: str) -> None:
    """The write path has come to `point`, one of POINTS."""
    if armed and (act := armed.get(point)) is not None:
        act()
