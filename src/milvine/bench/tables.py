"""The figures of a run as Markdown tables, ready for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
LEVELS = (0.95, 0.99)
"""Of recall, for which a table says who is quickest."""
_SEARCH = (
    "data",
    "index",
    "contender",
    "clients",
    "recall@10",
    "queries/s",
    "of raw",
    "p50 / p99 us",
    "CPU us client / server",
)


def markdown(rows: Sequence[Row]) -> str:
    """A table of searches, one of the quickest at a recall, one of many queries in a call, one of
    the rest; those without rows are left out.
    """
    searches = [_search(row) for row in rows if row["what"] == "search"]
    many = [
        (
            row["data"],
            row["kind"],
            row["contender"],
            f"{row['nq']:,}",
            _number(row["rate"]),
            _ratio(row["of_raw"]),
        )
        for row in rows
        if row["what"] == "many"
    ]
    levels = [
        (data, contender, *(_quickest(points.get(level)) for level in LEVELS))
        for (data, contender), points in quickest(rows).items()
        if points
    ]
    rest = [
        _once(row)
        for row in rows
        if row["what"] in ("ingest", "ingest lists", "build", "cold start")
    ]
    failed = [
        f"{row['contender']} failed on {row['data']}: {row['why']}"
        for row in rows
        if row["what"] == "failed"
    ]
    tables = [
        _table(_SEARCH, searches),
        _table(("data", "contender", *(f"queries/s at recall {each}" for each in LEVELS)), levels),
        _table(("data", "index", "contender", "queries in a call", "queries/s", "of raw"), many),
        _table(("data", "what", "contender", "figure"), rest),
        "\n".join(failed),
    ]
    return "\n\n".join(table for table in tables if table) + "\n"


def quickest(rows: Sequence[Row]) -> dict[tuple[str, str], dict[float, Row]]:
    """By data and contender, and by level of recall: the row of one client with the highest rate of
    those that have at least so much, whatever their index.
    """
    found: dict[tuple[str, str], dict[float, Row]] = {}
    for row in rows:
        if row["what"] == "curve" or (row["what"] == "search" and row["clients"] == 1):
            best = found.setdefault((row["data"], row["contender"]), {})
            for level in LEVELS:
                held = best.get(level)
                if row["recall"] >= level and (held is None or row["rate"] > held["rate"]):
                    best[level] = row
    return found


def _quickest(row: Row | None) -> str:
    if row is None:
        return "-"
    how = row["kind"] if row["breadth"] is None else f"{row['kind']} {row['breadth']}"
    return f"{_number(row['rate'])} ({how}, {row['recall']:.3f})"


def _search(row: Row) -> tuple[str, ...]:
    server = "-" if row["server_cpu"] is None else _number(row["server_cpu"])
    spread = f"{_number(row['rate'])} ({_number(row['least'])} to {_number(row['most'])})"
    latency = f"{_number(row['p50'])} / {_number(row['p99'])}"
    return (
        row["data"],
        row["kind"],
        row["contender"],
        str(row["clients"]),
        f"{row['recall']:.3f}",
        spread,
        _ratio(row["of_raw"]),
        latency,
        f"{_number(row['client_cpu'])} / {server}",
    )


def _once(row: Row) -> tuple[str, ...]:
    what, figure = row["what"], f"{row['seconds']:.2f} s"
    if what == "build":
        what, figure = f"build {row['kind']}", f"{figure}, {row['mib']:,.0f} MiB resident"
    if "rate" in row:
        figure = f"{_number(row['rate'])} rows/s"
    return row["data"], what, row["contender"], figure


def _number(value: float) -> str:
    """Three digits are as many as mean something."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if lines else ""
