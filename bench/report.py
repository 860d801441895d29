"""Tables on the terminal and the same rows as JSON in bench/out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from milvine.bench.results import machine

OUT = Path(__file__).parent / "out"
Row = Mapping[str, Any]


class Report:
    """The rows of one measurement. Each row is printed as it comes; `save` writes them all."""

    def __init__(self, name: str, settings: Row) -> None:
        self.name, self.settings, self.rows = name, dict(settings), list[Row]()
        print(
            f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items()),
            flush=True,
        )

    def add(self, **row: Any) -> None:
        if not self.rows or list(self.rows[-1]) != list(row):
            print("  ".join(f"{key:>{_width(key)}}" for key in row))
        self.rows.append(row)
        print(
            "  ".join(f"{_shown(value):>{_width(key)}}" for key, value in row.items()), flush=True
        )

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def save(self) -> Path:
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"{self.name}.json"
        content = {
            "name": self.name,
            "settings": self.settings,
            "machine": machine(),
            "rows": self.rows,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


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
