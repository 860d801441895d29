"""What one look at a database found: what `verify` tells, and what `repair` works from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from milvine.catalog.model import Contents, SegmentRecord
from milvine.catalog.place import IN_FOLDER
from milvine.offline.component import Component
from milvine.offline.findings import Finding, damage
from milvine.types import Collection


@dataclass
class Survey:
    """Everything that was read: what repair works from. `contents` is None when the
    catalog cannot be read at all.

    `catalog_sound`: it says what was written into it. `log`: the folder of the log, None
    when it is not where it was.
    """

    root: Path
    log: Path | None = None
    running: bool = False
    contents: Contents | None = None
    catalog_sound: bool = False
    components: dict[str, Component] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    meta_uri: str = IN_FOLDER
    log_records: int = 0
    log_sound: bool = True
    nonfinite_rows: int = 0

    @property
    def trusted(self) -> Contents | None:
        """What the catalog says, where that can be believed."""
        return self.contents if self.catalog_sound else None

    def records(self) -> Iterator[tuple[SegmentRecord, Collection]]:
        for stored in self.contents.collections if self.contents else ():
            yield from ((record, stored.collection) for record in stored.segments)

    def lost_commits(self, why: str) -> None:
        """The catalog is of before: it says what was written once, and not
        what was written last."""
        self.catalog_sound = False
        self.findings.append(damage("catalog.sqlite", None, f"it has lost commits: {why}"))
