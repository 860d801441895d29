"""Writes the tables of docs/indexes.md. To be run when ranges have changed: `python
scripts/index_tables.py`.
"""

from __future__ import annotations

from pathlib import Path

from milvine.index.registry import known
from milvine.index.spec import INT64_MAX, INT64_MIN, Divisor, IndexSpec, Parameter, Range

PAGE = Path(__file__).parents[1] / "docs" / "indexes.md"
BEGIN = "<!-- tables: made by scripts/index_tables.py from the specs in milvine/index -->\n"
END = "<!-- end of tables -->\n"
BUILD = "| type | build parameter | from | to | default |\n|---|---|---|---|---|\n"
SEARCH = "| type | search parameter | from | to | default |\n|---|---|---|---|---|\n"
SPECS = [spec for spec in known() if not all(metric.is_binary for metric in spec.metrics)]
"""Those of float vectors: binary ones have the same parameters."""


def build_rows(spec: IndexSpec) -> str:
    rows = "".join(row(spec, each) for each in spec.build)
    return rows or f"| {spec.name} | none | | | |\n"


def row(spec: IndexSpec, parameter: Parameter) -> str:
    if isinstance(parameter, Divisor):
        needed = parameter.default(128) is None
        cells = ["1", "the dimension, which it must divide", "required" if needed else "see below"]
    else:
        assert isinstance(parameter, Range)
        least = "`top_k`" if parameter.from_topk else bound(parameter.least)
        cells = [least, bound(parameter.most), default(parameter)]
    return f"| {spec.name} | `{parameter.key}` | {' | '.join(cells)} |\n"


def default(parameter: Range) -> str:
    if parameter.default is None:
        return "none" if parameter.optional else "required"
    return str(parameter.default)


def bound(value: int) -> str:
    return {INT64_MIN: "-2^63", INT64_MAX: "2^63 - 1"}.get(value, str(value))


def tables() -> str:
    builds = "".join(map(build_rows, SPECS))
    search = "".join(row(spec, each) for spec in SPECS for each in spec.search)
    return f"\n## Build parameters\n\n{BUILD}{builds}\n## Search parameters\n\n{SEARCH}{search}\n"


def page(text: str) -> str:
    """The page with its tables as the code has them now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
