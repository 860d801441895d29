"""An event as words for people, or as an object for machines. Neither ever holds a vector: events
carry none.
"""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any

from milvine.events import Event, Searched
from milvine.types import ScanStep, SearchSteps, WatchedSearch

SCANS_MAX = 16
"""Scans of one search that a log lists, the slowest; `explain` lists all."""
_UNSEEN = (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPED = {code: ascii(chr(code))[1:-1] for code in _UNSEEN}
"""Names come from outside: none of them may begin a line, move a cursor, or turn the reading
direction.
"""


@cache
def _named(kind: Any) -> tuple[str, tuple[str, ...]]:
    """`TornTailCut` as `torn tail cut`, and the names of its fields."""
    return re.sub(r"(?<=.)(?=[A-Z])", " ", kind.__name__).lower(), tuple(
        field.name for field in fields(kind)
    )


def line(event: Event, title: str = "") -> str:
    """`TornTailCut(file="1.log", ...)` as `torn tail cut: file=1.log ...`, on one line but for
    tracebacks.
    """
    kind: Any = type(event)  # mypy takes the class of a frozen dataclass for unhashable
    name, keys = _named(kind)
    words = title or name
    values = " ".join(_field(key, getattr(event, key)) for key in keys)
    return f"{words}: {values}" if values else words


def as_object(event: Event, title: str = "") -> dict[str, Any]:
    """The same as an object that JSON can say: `event`, then the event's fields; times in
    seconds.
    """
    values = _searched(event) if isinstance(event, Searched) else asdict(event)
    kind: Any = type(event)
    return {"event": (title or _named(kind)[0]).replace(" ", "_"), **_rounded(values)}


def _searched(event: Searched) -> dict[str, Any]:
    steps, left_out = _slowest(event.steps)
    fields = {key: getattr(event, key) for key in ("collection", "nq", "topk", "seconds")}
    scans = [_shown_scan(scan) for scan in steps.scans]
    more = {"scans_left_out": left_out} if left_out else {}
    return fields | {"steps": asdict(steps) | {"scans": scans} | more}


def _shown_scan(scan: ScanStep) -> dict[str, Any]:
    """Without what was measured of its index, and without a choice where none was made."""
    left_out = {"curve"} if scan.picked else {"curve", "picked"}
    return {key: value for key, value in asdict(scan).items() if key not in left_out}


def _field(key: str, value: object) -> str:
    if isinstance(value, WatchedSearch):
        return _steps(value.steps())
    return f"{key}={_value(value, key == 'traceback')}"


def _value(value: object, many_lines: bool = False) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if many_lines else text.translate(_ESCAPED)


def _steps(steps: SearchSteps) -> str:
    rows = sum(scan.rows for scan in steps.scans)
    masked = sum(scan.masked for scan in steps.scans)
    params = ",".join(f"{key}:{value}" for key, value in steps.params.items())
    shown, left_out = _slowest(steps)
    scans = "; ".join(_scan(scan) for scan in shown.scans) + (
        f"; and {left_out} more" if left_out else ""
    )
    return (
        f"metric={steps.metric} params={{{params}}} plan={steps.plan_seconds:.6f}"
        f" scan={steps.scan_seconds:.6f} reduce={steps.reduce_seconds:.6f} rows={rows}"
        f" masked={masked} skipped={steps.skipped} scans=[{scans}]"
    )


def _scan(scan: ScanStep) -> str:
    segments = f" segments {','.join(map(str, scan.segments[:SCANS_MAX]))}" if scan.segments else ""
    more = f" and {len(scan.segments) - SCANS_MAX} more" if len(scan.segments) > SCANS_MAX else ""
    picked = "".join(f" {key} {value}" for key, value in scan.picked.items())
    return (
        f"{scan.kind}{segments}{more}{picked} rows {scan.rows} masked {scan.masked}"
        f" {scan.seconds:.6f}s"
    )


def _slowest(steps: SearchSteps) -> tuple[SearchSteps, int]:
    """The steps with the slowest of their scans, and how many were left out."""
    left_out = len(steps.scans) - SCANS_MAX
    if left_out <= 0:
        return steps, 0
    slowest = sorted(steps.scans, key=lambda scan: -scan.seconds)[:SCANS_MAX]
    return replace(steps, scans=tuple(slowest)), left_out


def _rounded(value: Any) -> Any:
    """Microseconds are the last digit that means something."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
