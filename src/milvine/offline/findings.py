"""What `milvine verify` has to say about a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        file: relative to the data folder.
        offset: in bytes from its beginning, None where no byte can be named.
        what: a sentence for whoever runs the database.
        damage: False for what a crash leaves behind, or what costs only time: the next start deals
            with it.
        segment: the segment it is about.
    """

    file: str
    offset: int | None
    what: str
    damage: bool = True
    segment: int | None = None

    def __str__(self) -> str:
        at = "" if self.offset is None else f" at byte {self.offset}"
        return f"{'DAMAGE' if self.damage else 'note'}: {self.file}{at}: {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one look. `rows` counts the rows in segments, `log_records`
    whole records of the log.

    `nonfinite_rows`: of `rows`, those that no search finds.
    """

    folder: str
    findings: tuple[Finding, ...]
    files: int
    bytes: int
    collections: int
    segments: int
    rows: int
    log_records: int
    seconds: float
    nonfinite_rows: int = 0

    @property
    def clean(self) -> bool:
        return not any(finding.damage for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "clean": self.clean}


def damage(file: str, offset: int | None, what: str, segment: int | None = None) -> Finding:
    return Finding(file, offset, what, True, segment)


def note(file: str, what: str, offset: int | None = None) -> Finding:
    return Finding(file, offset, what, False)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Damage first, then by file and offset."""
    return tuple(sorted(findings, key=lambda f: (not f.damage, f.file, f.offset or 0, f.what)))
