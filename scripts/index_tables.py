"""Writes the tables of docs/indexes.md. To be run when ranges have changed: `python
scripts/index_tables.py`.
"""

from __future__ import annotations

from pathlib import Path

from milvine.index.params import BUILD_RANGES, INT64_MAX, INT64_MIN, SEARCH_RANGES, Range
from milvine.types import IndexType

PAGE = Path(__file__).parents[1] / "docs" / "indexes.md"
BEGIN = "<!-- tables: made by scripts/index_tables.py from milvine/index/params.py -->\n"
END = "<!-- end of tables -->\n"
BUILD = "| type | build parameter | from | to | default |\n|---|---|---|---|---|\n"
SEARCH = "| type | search parameter | from | to | default |\n|---|---|---|---|---|\n"
# Its bound is the dimension of the collection, which no range can say.
M = f"| {IndexType.IVF_PQ} | `m` | 1 | the dimension, which it must divide | required |\n"


def build_rows(kind: IndexType) -> str:
    rows = [
        f"| {kind} | `{r.key}` | {r.least} | {r.most} | {default(r)} |\n"
        for r in BUILD_RANGES[kind]
    ]
    return "".join([*rows, M if kind is IndexType.IVF_PQ else ""]) or f"| {kind} | none | | | |\n"


def search_rows(kind: IndexType) -> str:
    """Their bounds as they follow from top_k."""
    pairs = zip(*(SEARCH_RANGES[kind](topk) for topk in (101, 102)), strict=True)
    return "".join(
        f"| {kind} | `{one.key}` | {bound(one.least, two.least)} | {bound(one.most, two.most)} |"
        f" {default(one)} |\n"
        for one, two in pairs
    )


def default(parameter: Range) -> str:
    if parameter.default is None:
        return "none" if parameter.optional else "required"
    return str(parameter.default)


def bound(one: int, two: int) -> str:
    if one != two:
        return "`top_k`"
    return {INT64_MIN: "-2^63", INT64_MAX: "2^63 - 1"}.get(one, str(one))


def tables() -> str:
    search = "".join(search_rows(kind) for kind in SEARCH_RANGES)
    builds = "".join(build_rows(kind) for kind in BUILD_RANGES)
    return f"\n## Build parameters\n\n{BUILD}{builds}\n## Search parameters\n\n{SEARCH}{search}\n"


def page(text: str) -> str:
    """The page with its tables as the code has them now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
