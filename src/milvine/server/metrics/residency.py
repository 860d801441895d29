"""Memory of this process by what it holds, as Linux tells; on other systems the numbers are NaN."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_SMAPS, _STATUS = Path("/proc/self/smaps"), Path("/proc/self/status")
_KIB = 1024


def memory_by_kind(mapped: Path | None) -> dict[str, float]:
    """Resident bytes.

    `files`: of data files in the folder `mapped`, which the system takes back when it needs them;
    `anonymous`: everything that is in no file, the tail included; `total`.
    """
    status = dict(_fields(_STATUS))
    unknown = float("nan")
    return {
        "files": _resident(mapped) if status else unknown,
        "anonymous": status.get("RssAnon", unknown),
        "total": status.get("VmRSS", unknown),
    }


def _fields(path: Path) -> Iterator[tuple[str, float]]:
    for line in _lines(path):
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, float(value.split()[0]) * _KIB


def _resident(folder: Path | None) -> float:
    """Resident bytes of the mappings of files in one folder: the `Rss` line after each line that
    names one.
    """
    needle, inside, total = f" {folder}/", False, 0.0
    for line in _lines(_SMAPS) if folder else ():
        if needle in line:
            inside = True
        elif inside and line.startswith("Rss:"):
            total += float(line.split()[1]) * _KIB
            inside = False
    return total


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
