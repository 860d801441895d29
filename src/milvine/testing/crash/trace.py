"""Records of what a process did to its files: the tracer is compiled, preloaded, and its output
read (see tracer.c).
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAGIC = 0x5243564D
_HEADER = struct.Struct("<IIIIQQ")
_SOURCE = Path(__file__).with_name("tracer.c")


class Op(IntEnum):
    """Kinds of record, numbered as in tracer.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    RENAME = 4
    UNLINK = 5
    MKDIR = 6
    RMDIR = 7
    LINK = 8
    SYNC_BEGIN = 9
    SYNC_END = 10
    ACK = 11
    UNSEEN = 12


class TracerUnavailable(RuntimeError):
    """No Linux or no C compiler: nothing can be preloaded."""


class Untraceable(RuntimeError):
    """The process changed a file in a way that the tracer cannot follow."""


@dataclass(frozen=True, slots=True)
class Record:
    """One effect. `number` is an offset (WRITE), a size (TRUNCATE) or the syncing thread
    (SYNC_*).
    """

    op: Op
    path: str
    other: str = ""
    number: int = 0
    data: bytes = b""


def compile_tracer(folder: Path) -> Path:
    """Builds the shared library in `folder`. Raises TracerUnavailable."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux") or compiler is None:
        raise TracerUnavailable("the write tracer needs Linux and a C compiler")
    library = folder / "tracer.so"
    command = [
        compiler,
        "-O2",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(_SOURCE),
        "-ldl",
        "-lpthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TracerUnavailable(f"{' '.join(command)} failed:\n{done.stderr}")
    return library


def under_tracer(
    tracer: Path, root: Path, trace: Path, ack: Path, command: Sequence[str]
) -> list[str]:
    """`command` with the tracer preloaded: writes below `root` go to `trace`, writes to `ack` mark
    acknowledgements.
    """
    settings = {
        "LD_PRELOAD": tracer.resolve(),
        "MILVINE_TRACE_ROOT": root.resolve(),
        "MILVINE_TRACE_FILE": trace.resolve(),
        "MILVINE_TRACE_ACK": ack.resolve(),
    }
    return ["env", *(f"{name}={value}" for name, value in settings.items()), *command]


def read_trace(file: Path) -> list[Record]:
    """Every whole record; a killed process may leave a part of one at the end. Raises
    Untraceable.
    """
    return list(_records(file.read_bytes()))


def _records(text: bytes) -> Iterator[Record]:
    at = 0
    while at + _HEADER.size <= len(text):
        magic, op, path_bytes, other_bytes, number, data_bytes = _HEADER.unpack_from(text, at)
        if magic != MAGIC:
            raise Untraceable(f"the trace is damaged at byte {at}")
        path = at + _HEADER.size
        other, data = path + path_bytes, path + path_bytes + other_bytes
        at = data + data_bytes
        if at > len(text):
            return
        record = Record(
            Op(op), text[path:other].decode(), text[other:data].decode(), number, text[data:at]
        )
        if record.op is Op.UNSEEN:
            raise Untraceable(f"{record.path}: {record.other}")
        if not record.path.endswith("-shm"):
            yield record
