"""Tables on the terminal and the same rows as JSON in bench/out."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import faiss
import psutil

import milvine

OUT = Path(__file__).parent / "out"
Row = Mapping[str, Any]


class Report:
    """The rows of one measurement. Each row is printed as it comes; `save` writes them all."""

    def __init__(self, name: str, settings: Row) -> None:
        self.name, self.settings, self.rows = name, dict(settings), list[Row]()
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items()), flush=True)

    def add(self, **row: Any) -> None:
        if not self.rows or list(self.rows[-1]) != list(row):
            print("  ".join(f"{key:>{_width(key)}}" for key in row))
        self.rows.append(row)
        print("  ".join(f"{_shown(value):>{_width(key)}}" for key, value in row.items()), flush=True)

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def save(self) -> Path:
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"{self.name}.json"
        content = {"name": self.name, "settings": self.settings, "machine": machine(), "rows": self.rows}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def machine() -> Row:
    """What the figures were taken on."""
    return {
        "milvine": milvine.__version__,
        "faiss": faiss.__version__,
        "python": platform.python_version(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _width(key: str) -> int:
    return max(len(key), 9)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
