"""How much memory this process may take: what the machine has, or less where a control group of
Linux limits it.

A group's limit holds for everything below it, so the least of its own and of all groups above it
counts. In a container the path that the system tells is often that of the host and not to be found
below what is mounted: then what is mounted is the container's own group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

_OWN = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/meminfo")
# Above `memory.high` a process is not ended but slowed down.
_LIMITS_1, _LIMITS_2 = ("memory.limit_in_bytes",), ("memory.max", "memory.high")
_ABSURD = 1 << 60  # version 1 has no word for "no limit"


def memory_total() -> int:
    """Bytes of physical memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


@cache
def memory_limit() -> int:
    """Bytes that this process may take in all, as they were when it was first asked; 0 where nobody
    says.
    """
    limits = [size for size in (memory_total(), group_limit()) if size]
    return min(limits, default=0)


def group_limit(own: Path = _OWN, mounted: Path = _MOUNTED) -> int:
    """The least memory limit, in bytes, of this process's control group and those above it; 0 for
    none.

    Args:
        own: the file in which the system tells the groups of this process.
        mounted: where the hierarchies of groups are mounted.
    """
    found = [
        limit
        for folder, names in _groups(own, mounted)
        for name in names
        if (limit := _limit(folder / name))
    ]
    return min(found, default=0)


def memory_left(own: Path = _OWN, mounted: Path = _MOUNTED, machine: Path = _MACHINE) -> int:
    """Bytes that may still be allocated here, at least 1; 0 where nobody says. Pages of files
    count: they give way.

    Args:
        own, mounted: as for `group_limit`.
        machine: the file in which the system tells what the machine has left.
    """
    left = [1024 * size] if (size := _number(machine, "MemAvailable:")) else []
    for folder, names in _groups(own, mounted):
        limits = [limit for name in names if (limit := _limit(folder / name))]
        if limits:
            left.append(max(min(limits) - _held(folder), 1))
    return min(left, default=0)


def _held(folder: Path) -> int:
    """Bytes that a group and those below it hold and cannot give up: what they use, but for pages
    of files.
    """
    used = _limit(folder / "memory.usage_in_bytes") or _limit(folder / "memory.current")
    stat = folder / "memory.stat"
    kinds = ("inactive_file", "active_file")
    return used - sum(_number(stat, f"total_{kind}") or _number(stat, kind) for kind in kinds)


def _number(file: Path, word: str) -> int:
    """The number after a word at the beginning of a line; 0 where there is none."""
    found = (line.split() for line in _text(file).splitlines() if line.startswith(f"{word} "))
    return next(
        (
            int(parts[1])
            for parts in found
            if parts[1:] and parts[1].isdecimal() and len(parts[1]) < 20
        ),
        0,
    )


def _groups(own: Path, mounted: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folders of the groups that hold this process, and the names of the files with their
    limits.
    """
    for line in _text(own).splitlines():
        parts = line.split(":", 2)
        if len(parts) < 3:
            continue
        controllers, path = parts[1].split(","), PurePosixPath(parts[2].strip("/"))
        if "memory" in controllers:
            yield from ((folder, _LIMITS_1) for folder in _up(mounted / "memory", path))
        elif controllers == [""]:
            # Beside hierarchies of version 1 it is the latter.
            for top in (mounted, mounted / "unified"):
                yield from ((folder, _LIMITS_2) for folder in _up(top, path))


def _up(top: Path, path: PurePosixPath) -> Iterator[Path]:
    """The folder at `path` below `top`, and all above it; of one that leads out of `top`, `top`
    alone.
    """
    if ".." in path.parts:
        path = PurePosixPath()
    for each in (path, *path.parents):
        yield top / each


def _limit(file: Path) -> int:
    """The number in a file; 0 where there is no such file, or none that means anything."""
    text = _text(file).strip()
    limit = int(text) if text.isdecimal() and len(text) < 20 else 0
    return limit if limit < _ABSURD else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
