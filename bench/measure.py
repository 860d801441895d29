"""Clocks, rounds that alternate, and what a process and a folder take."""

from __future__ import annotations

import mmap
import os
import stat
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

MIB = 1 << 20
Result = TypeVar("Result")


def timed(action: Callable[[], Result]) -> tuple[Result, float]:
    """What one call returned and its wall time in seconds."""
    began = time.perf_counter()
    result = action()
    return result, time.perf_counter() - began


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    return timed(action)[1]


def alternate(
    rounds: int, *actions: Callable[[], object], before: Callable[[], object] = lambda: None
) -> list[float]:
    """Median seconds of each action. The actions take turns, so that a busy machine slows all of
    them alike.

    `before` runs before each action, outside the clock.
    """
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for record, action in zip(times, actions, strict=True):
            before()
            record.append(seconds(action))
    return [statistics.median(record) for record in times]


def warm_free_memory(size: int) -> None:
    """Touch `size` bytes of fresh memory and give them back.

    A virtual machine may have handed pages that nobody used to its host, and gets them back at a
    few hundred MB a second. A file just removed leaves warm pages behind for the next file, rows
    that are kept do not: without this, the two would be timed on different memory.
    """
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def each(action: Callable[[int], object], count: int) -> Callable[[], None]:
    """One action that runs `action(0)`, `action(1)`, ... one after another."""

    def run() -> None:
        for number in range(count):
            action(number)

    return run


def anonymous_bytes(pid: int) -> int:
    """Memory of a process and its children that is neither a mapped file nor shared with one
    (Linux).
    """
    return sum(_anonymous(process.pid) for process in _family(pid))


def _anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_share(pid: int, over: float) -> float:
    """CPU seconds per second that a process and its children use in the next `over` seconds."""
    before = _cpu_seconds(pid)
    time.sleep(over)
    return (_cpu_seconds(pid) - before) / over


def _cpu_seconds(pid: int) -> float:
    times = [process.cpu_times() for process in _family(pid)]
    return float(sum(t.user + t.system for t in times))


def _family(pid: int) -> Iterable[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder, by their blocks where that is more than their length
    (preallocation).
    """
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            size = path.stat()
            total += max(size.st_size, size.st_blocks * 512) if stat.S_ISREG(size.st_mode) else 0
    return total


def wait_until_quiet(
    folder: Path, still: float = 15.0, most: float = 180.0, pause: float = 0.5
) -> float:
    """Return when no file under the folder changed its size for `still` seconds: when one last did,
    monotonic clock.

    It looks every `pause` seconds.

    Raises:
        TimeoutError: it is still changing after `most` seconds.
    """
    end, last, since = time.monotonic() + most, -1, time.monotonic()
    while time.monotonic() < end:
        size = folder_bytes(folder)
        if size != last:
            last, since = size, time.monotonic()
        elif time.monotonic() - since >= still:
            return since
        time.sleep(pause)
    raise TimeoutError(f"{folder.name} is not quiet after {most:g} s")


def forget_pages(folder: Path) -> None:
    """Ask the kernel to drop the cached pages of every file, so that the next open reads
    the disk.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
