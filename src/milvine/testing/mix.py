"""What the runs of a harness differ in: mixed by the seed, unless options pin it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from milvine.testing.sample_rows import CONTENTS
from milvine.types import MetricType

DIMENSIONS = (2, 8, 32, 50, 64, 512)
LOGS = ("home", "elsewhere")
_FLOAT, _BINARY = (MetricType.L2, MetricType.IP), (MetricType.HAMMING, MetricType.JACCARD)
_BINARY_STEP = 8  # dimensions of binary collections are multiples


@dataclass(frozen=True)
class Mix:
    """What may be chosen from.

    Attributes:
        dimensions: of collections, one each time that one is made.
        rows: what is in the rows of an insert, see `milvine.testing.sample_rows`.
        logs: where the log is: in the data folder, or where `wal.path` says.
        forks: whether children are forked that hold what the process had open when it is gone.
        signals: whether it is interrupted, stopped and asked to end as well.
    """

    dimensions: tuple[int, ...] = DIMENSIONS
    rows: tuple[str, ...] = CONTENTS
    logs: tuple[str, ...] = LOGS
    forks: bool = True
    signals: bool = True

    def shape(self, random: Random) -> tuple[int, MetricType]:
        """Dimension and metric of a new collection, float or binary."""
        dimension = random.choice(self.dimensions)
        return dimension, self.metric(dimension, random)

    def metric(self, dimension: int, random: Random) -> MetricType:
        """A metric for a collection of that dimension."""
        return random.choice(_FLOAT if dimension % _BINARY_STEP else _FLOAT + _BINARY)

    def content(self, random: Random) -> str:
        """Of the rows of an insert: half of them plain, if that is among them."""
        plain = "plain" in self.rows and random.random() < 0.5
        return "plain" if plain else random.choice(self.rows)

    def log(self, number: int) -> str:
        """Where the log of a folder is: one place after the other."""
        return self.logs[number % len(self.logs)]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Mix:
        value: dict[str, Any] = json.loads(text)
        return cls(**value | {name: tuple(value[name]) for name in ("dimensions", "rows", "logs")})

    def __str__(self) -> str:
        dimensions = " ".join(map(str, self.dimensions))
        return f"dimensions {dimensions}; rows {' '.join(self.rows)}; log {' '.join(self.logs)}"


EVERYTHING = Mix()


def add_options(
    parser: argparse.ArgumentParser,
    pinned: Sequence[str] = ("forks", "signals"),
    default: Mix = EVERYTHING,
) -> None:
    """Options that pin what is mixed; `pinned`: which of those that are yes or no."""
    parser.add_argument(
        "--dimension", type=int, nargs="+", default=default.dimensions, help="of collections"
    )
    parser.add_argument(
        "--rows", nargs="+", choices=CONTENTS, default=default.rows, help="what inserts carry"
    )
    parser.add_argument(
        "--log", nargs="+", choices=LOGS, default=default.logs, help="where the log is"
    )
    for name in pinned:
        parser.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, default=getattr(default, name)
        )


def from_options(given: argparse.Namespace) -> Mix:
    """What `add_options` made of the command line."""
    pinned = {name: getattr(given, name) for name in ("forks", "signals") if hasattr(given, name)}
    return Mix(tuple(given.dimension), tuple(given.rows), tuple(given.log), **pinned)
