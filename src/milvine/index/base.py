"""What a kernel is: it builds an index as bytes, and opens such bytes for searching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from milvine.types import Bytes, Floats, Ids, MetricType, RowMask, Vectors

Params: TypeAlias = Mapping[str, Any]
"""Parameters that were checked, of a build or a search."""

Write: TypeAlias = Callable[["bytes | memoryview"], object]
"""Takes the next bytes of an index image. What it raises ends the build and reaches the builder's
caller.
"""


Report: TypeAlias = Callable[[str, int], object]
"""Is told the stage that a build is in, and how many rows have gone through it."""


def untold(stage: str, done: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One index to build.

    Attributes:
        vectors: float32 (rows, dimension) under L2 or IP, uint8 (rows, dimension / 8) under a
            binary metric; C-contiguous, may be mapped and read-only.
        params: build parameters that the type's spec has checked.
        write: takes the image, in pieces.
        threads: OpenMP threads to use.
        report: is told how far the build is. A builder from which nothing is heard for long is
            ended.
        memory: bytes that may be used besides mapped rows, 0 for any number; types that cannot do
            with so little use what they need.
        live: of as many rows; None: all are. No search may want the others.
        codes: whether the index may be searched by small codes of the rows, where that is quicker
            and finds the same.
    """

    vectors: Vectors
    metric: MetricType
    params: Params
    write: Write
    threads: int = 1
    report: Report = untold
    memory: int = 0
    live: RowMask | None = None
    codes: bool = True


class OpenIndex(Protocol):
    """An index over one segment. It keeps the buffers it was opened with alive; searches may run at
    the same time.
    """

    @property
    def rows(self) -> int:
        """Rows of the segment, found or not."""

    def search(
        self, queries: Vectors, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> tuple[Floats, Ids]:
        """The k (about) nearest live rows of each query.

        Args:
            queries: float32 (nq, dimension), C-contiguous; a query with NaN or infinity finds
                nothing. uint8 (nq, dimension / 8) under a binary metric.
            k: at least 1; may exceed the rows.
            params: search parameters that the type's spec has checked.
            mask: of as many rows; None when all are live.
            threads: OpenMP threads for this call.

        Returns:
            float32 distances in the metric's own sense (squared L2, for one) and int64 row numbers,
            both (nq, k), nearest first, equal distances by row number. Missing hits are row -1 with
            float32 max.
        """


@runtime_checkable
class ReadsAhead(Protocol):
    """An open index that knows what a search will read of a mapped file."""

    def read_ahead(self, most: int) -> None:
        """From now on, ask the system for that before each search, for at most `most` bytes in one
        call: more is mapped than stays in memory.
        """


@runtime_checkable
class ScansRows(Protocol):
    """An open index that may have to compare a query with every row of the segment."""

    def scan_rows_in(self, vectors: Vectors) -> None:
        """From now on, read all rows in `vectors`: they are mapped once more, to be read in their
        order, where the image that it was opened with is for a row here and a row there.
        """


@runtime_checkable
class Precomputes(Protocol):
    """An open index that is searched sooner with something more in memory."""

    def precompute(self, most: int) -> None:
        """Make it, before the first search, if that of all open indexes of this process has at most
        `most` bytes then.
        """


class Kernel(Protocol):
    """One index type."""

    def build(self, job: BuildJob) -> None:
        """Pass the image of an index to `job.write`.

        Rows with NaN or infinity are left out, and those that are not live.
        """

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        """Open what `build` wrote (`data`), without copying it.

        `flat` is the segment's vectors as `milvine.index.flat` describes. Both may be mapped and
        read-only. Checksums are the caller's: an image that was damaged or made elsewhere is a risk
        to the process.

        Raises:
            UnsupportedFormat: the image was written by a newer release.
            CorruptFile: it is no image of this type.
        """
