"""The body of an index build, run by `build` in a process of its own: raw segment in, index file
out.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from milvine.index.base import BuildJob, Report, untold
from milvine.index.registry import kernel
from milvine.index.registry import spec as index_spec
from milvine.segment.component import ComponentFile
from milvine.segment.layout import MEASURED, ComponentWriter, SectionSpan
from milvine.storage.directory import NOWHERE, Identity
from milvine.storage.local_files import filled, mapped
from milvine.types import IndexType, MetricType, RowMask

resource: Any = import_module("resource") if find_spec("resource") else None
"""Unix has it."""

DONE = "done"
"""What a builder says last, once the index is durable."""

_NICENESS = 10


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """All a builder needs to know: values and paths on this machine, not objects. It knows no
    storage: that of the database gave the paths and gives the index its name.

    `rows_file` is the name of the file at `rows_path`. `output_made`: the identity of the empty
    file at `output_path`; nothing is written where another has taken its place. `stall_seconds` of
    CPU time without a word of progress end the process. `memory`: bytes that the build may use; 0
    for any number. Rows that the file at `tombstone_path` marks as deleted are left out of the
    index; empty for none. `codes`: as that of `milvine.index.base.BuildJob`.
    """

    rows_file: str
    rows_path: str
    segment_id: int
    output_path: str
    collection_id: int
    dimension: int
    metric: int
    index_type: int
    params_json: str
    threads: int
    stall_seconds: int
    memory: int = 0
    output_made: Identity = NOWHERE
    tombstone_path: str = ""
    codes: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def build(spec: BuildSpec, report: Report = untold) -> None:
    """Write the index of one segment as a component file, durably; it has no name yet.

    Raises:
        CorruptFile: the vectors' checksums are wrong: a damaged segment is never copied into an
            index.
        StorageFailed: the file cannot be written. FolderGone: it is another.
        BuildFailed, ValueError, RuntimeError: the kernel's own complaint.
    """
    report("reading", 0)
    rows = ComponentFile(spec.rows_file, mapped(Path(spec.rows_path)))
    rows.verify(spec.segment_id, "vectors")
    metric, payload = (
        MetricType(spec.metric),
        rows.between(*_ends(rows.span(spec.segment_id, "vectors"))),
    )
    vectors = payload.view(metric.dtype).reshape(-1, metric.width(spec.dimension))
    live, params = _live_rows(spec, len(vectors)), json.loads(spec.params_json)
    index_type = index_spec(spec.index_type, metric.is_binary)
    chosen = kernel(spec.index_type, metric.is_binary)
    with filled(Path(spec.output_path), spec.output_made) as sink:
        writer = ComponentWriter(sink)
        writer.align()
        start = writer.position
        job = BuildJob(
            vectors,
            metric,
            params,
            writer.write,
            spec.threads,
            report,
            spec.memory,
            live,
            spec.codes,
        )
        began = time.process_time()
        chosen.build(job)
        seconds, end = time.process_time() - began, writer.position
        flat = rows.section(spec.segment_id, "flat")
        entry: dict[str, Any] = {
            "id": spec.segment_id,
            "collection": {"id": spec.collection_id},
            "rows": len(vectors),
            "rows_file": spec.rows_file,
            "index_type": spec.index_type,
            "index_params": spec.params_json,
            "sections": {"index": (start, end - start)},
        }
        if flat is not None and index_type.breadth is not None:
            # Imported here: a server, whose builds have processes of their own, holds it for none.
            calibration = import_module("milvine.index.recall.calibration")
            # With less memory each row that is looked at would bring in megabytes around it.
            scattered = 0 < spec.memory < vectors.nbytes
            if scattered:
                again = mapped(Path(spec.rows_path), scattered=True)
                flat = ComponentFile(spec.rows_file, again).section(spec.segment_id, "flat")
            image = mapped(Path(spec.output_path), own=True, scattered=scattered)[start:end]
            built = calibration.Built(job, chosen, image, flat, seconds)
            table = calibration.calibrate(built, index_type.breadth)
            if table is not None:
                entry[MEASURED] = table.as_json()
        if live is not None:
            entry["dead"] = live.dead
            entry["sections"]["live"] = writer.section(live.bits.tobytes())
        writer.finish("index", [entry])


def _live_rows(spec: BuildSpec, rows: int) -> RowMask | None:
    if not spec.tombstone_path:
        return None
    path = Path(spec.tombstone_path)
    return ComponentFile(path.name, mapped(path)).live_rows(spec.segment_id, rows)


def _ends(span: SectionSpan) -> tuple[int, int]:
    return span[0], sum(span)


def main() -> int:
    """Entry of the process. Its standard input is a pipe from the parent: a line says what to
    build, and when the pipe closes, the parent is gone.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    _go_first_when_memory_ends()
    # Loads what nearly all builds need, while there is nothing to do yet.
    kernel(IndexType.IVF_FLAT, binary=False)
    line = _first_line()
    if not line:
        return 0
    threading.Thread(target=_die_with_parent, daemon=True).start()
    spec = BuildSpec(**json.loads(line))

    def report(stage: str, done: int) -> None:
        print(json.dumps([stage, done]), flush=True)
        _allow(spec.stall_seconds)

    try:
        build(spec, report)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(DONE, flush=True)
    os._exit(0)  # all is written and told; to take the interpreter apart would only take time


def _go_first_when_memory_ends() -> None:
    """Linux ends this process before any other, the server above all. Elsewhere there is nothing to
    say.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _first_line() -> bytes:
    """What to build; empty when the parent is gone or has nothing more to build."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1 << 16)  # not sys.stdin: see `_die_with_parent`
        if not piece:
            return b""
        line += piece
    return line


def _allow(seconds: int) -> None:
    """The kernel ends this process after so much more CPU time: whatever loops, and however busy
    the machine is.
    """
    if resource is None:
        return
    until = int(time.process_time()) + 1 + seconds
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    if most == resource.RLIM_INFINITY or until < most:
        resource.setrlimit(resource.RLIMIT_CPU, (until, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _die_with_parent() -> None:
    # Not sys.stdin: a thread inside its buffer makes the interpreter abort at exit.
    while os.read(0, 1):
        pass
    os._exit(1)
