"""What a run found: printed as it comes, then written as JSON with the machine, the targets and the
picture.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import faiss
import psutil

import milvine
from milvine.bench.picture import curves, draw
from milvine.bench.tables import markdown
from milvine.bench.targets import Target, judge

Row = dict[str, Any]
_COLUMNS = ("what", "data", "kind", "contender")
_WIDTHS = {"what": 12, "data": 18, "kind": 8, "contender": 14}


class Results:
    """Rows of one run. `machine` says what else ran: the load average before the first row."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.rows = dict(settings), list[Row]()
        self.machine = machine()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(shown(row), flush=True)

    def targets(self) -> list[Target]:
        return judge(self.rows)

    def save(self, folder: Path, name: str) -> list[Path]:
        """`name`.json, `name`.md with the tables, and `name`.svg where there is something
        to draw.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for target in self.targets():
            print(target.text(), flush=True)
        content = {
            "name": name,
            "settings": self.settings,
            "machine": {**self.machine, "load_at_end": os.getloadavg()[0]},
            "rows": self.rows,
            "targets": [target.as_dict() for target in self.targets()],
        }
        written = [folder / f"{name}.json", folder / f"{name}.md"]
        written[0].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        written[1].write_text(markdown(self.rows), encoding="utf-8")
        if curves(self.rows):
            written.append(folder / f"{name}.svg")
            written[2].write_text(draw(self.rows), encoding="utf-8")
        return written


def machine() -> Row:
    """What the figures are taken on."""
    return {
        "milvine": milvine.__version__,
        "faiss": faiss.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": os.getloadavg()[0],
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def shown(row: Row) -> str:
    """One line: what it is about in columns, then the figures by name."""
    head = " ".join(f"{row.get(name, ''):<{_WIDTHS[name]}}" for name in _COLUMNS)
    figures = (
        f"{name} {_figure(value)}" for name, value in row.items() if name not in (*_COLUMNS, "rows")
    )
    return f"{head} {'  '.join(figures)}"


def _figure(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
