"""What a run is held to, as ratios within the same run: met, or missed and by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from milvine.bench.plan import RAW

Row = Mapping[str, Any]
OVERHEAD_US_MAX = 40.0  # of an embedded search over raw faiss
SERVER_CPU_US_MAX = 100.0  # of a search on the server over raw faiss
COLD_START_SECONDS_MAX = 2.0


@dataclass(frozen=True)
class Target:
    """A figure and where it should be: at least `goal`, or at most when `at_most`."""

    name: str
    value: float
    goal: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def text(self) -> str:
        side = "at most" if self.at_most else "at least"
        return (
            f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.value:.3g}, {side}"
            f" {self.goal:g}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def judge(rows: Sequence[Row]) -> list[Target]:
    """Every target for which the run has figures."""
    return [target for rule in RULES for row in rows for target in rule(row, rows)]


def _embedded(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    if not _is(row, "search", "embedded") or row["of_raw"] is None:
        return
    if row["clients"] == 1:
        yield Target(
            f"{_of(row)}: microseconds of an embedded search over raw faiss",
            row["over_raw_us"],
            OVERHEAD_US_MAX,
            True,
        )
    elif row["clients"] == 8:
        yield Target(
            f"{_of(row)}: eight embedded threads as a share of raw faiss", row["of_raw"], 0.7
        )


def _batches(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    if not _is(row, "many") or row["of_raw"] is None:
        return
    if row["contender"] == "embedded" and row["nq"] == 1000:
        yield Target(
            f"{_of(row)}: 1,000 in one embedded call, share of raw faiss", row["of_raw"], 0.97
        )
    if row["contender"] == "server" and row["kind"] == "exact":
        yield Target(
            f"{_of(row)}: {row['nq']:,} in one call to the server, share of raw faiss",
            row["of_raw"],
            0.9,
        )


def _server(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    """CPU on the server, and exact searches of 8 clients beside raw faiss one at a time."""
    if not _is(row, "search", "server"):
        return
    raw = _same(rows, row, contender=RAW, clients=1)
    if raw and row["kind"] != "exact":
        name = f"{_of(row)}: microseconds of server CPU over raw faiss, {row['clients']} clients"
        yield Target(name, row["server_cpu"] - raw["client_cpu"], SERVER_CPU_US_MAX, True)
    if raw and row["kind"] == "exact" and row["clients"] == 8:
        yield Target(
            f"{_of(row)}: 8 clients exact, times raw faiss one at a time",
            row["rate"] / raw["rate"],
            1.5,
        )


def _peers(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    """Rates beside the best server peer of the same run that finds as much."""
    if not _is(row, "search", "server") or row["kind"] == "exact":
        return
    others = [
        each["rate"]
        for each in rows
        if _is(each, "search")
        and each["contender"] in SERVER_PEERS
        and _alike(each, row, "clients")
    ]
    if others and row["clients"] in (1, 8):
        goal = 2.0 if row["clients"] == 1 else 2.5
        name = f"{_of(row)}: times the best server peer, {row['clients']} clients"
        yield Target(name, row["rate"] / max(others), goal)


def _ingest(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    if not _is(row, "ingest"):
        return
    if row["contender"] == "server":
        copies = [
            each["rate"]
            for each in rows
            if _is(each, "ingest", "pgvector") and each["data"] == row["data"]
        ]
        if copies:
            yield Target(
                f"{row['data']}: ingest, times pgvector's COPY", row["rate"] / max(copies), 1.0
            )
    if row["contender"] == "embedded":
        raw = [
            each["rate"]
            for each in rows
            if _is(each, "ingest", RAW) and each["data"] == row["data"]
        ]
        if raw:
            yield Target(
                f"{row['data']}: embedded ingest, share of write and fsync",
                row["rate"] / raw[0],
                0.5,
            )


def _builds(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    if not _is(row, "build", "server") or row["kind"] == "exact":
        return
    raw = [each for each in rows if _is(each, "build", RAW) and _alike(each, row)]
    if raw:
        name = f"{_of(row)}: index build on the server, times raw faiss"
        yield Target(name, row["seconds"] / raw[0]["seconds"], 1.1, True)


def _cold(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    if _is(row, "cold start"):
        name = f"{row['data']}: {row['contender']}, seconds to the first answer"
        yield Target(name, row["seconds"], COLD_START_SECONDS_MAX, True)


def _stated(row: Row, rows: Sequence[Row]) -> Iterable[Target]:
    """Rows that bring their own goal."""
    if "goal" in row:
        yield Target(row["name"], row["value"], row["goal"], row.get("at_most", False))


SERVER_PEERS = ("pgvector",)
RULES: tuple[Callable[[Row, Sequence[Row]], Iterable[Target]], ...] = (
    _embedded,
    _batches,
    _server,
    _peers,
    _ingest,
    _builds,
    _cold,
    _stated,
)


def _is(row: Row, what: str, contender: str | None = None) -> bool:
    return row["what"] == what and contender in (None, row["contender"])


def _of(row: Row) -> str:
    return f"{row['data']} {row['kind']}"


def _alike(row: Row, other: Row, *more: str) -> bool:
    return all(row[name] == other[name] for name in ("data", "kind", *more))


def _same(rows: Sequence[Row], row: Row, contender: str, clients: int) -> Row | None:
    found = (each for each in rows if _is(each, "search", contender) and _alike(each, row))
    return next((each for each in found if each["clients"] == clients), None)
