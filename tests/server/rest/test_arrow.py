"""Shapes that an Arrow stream may have and an insert may not: each is refused with a code, none is
unforeseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from milvine.server.rest.bulk import ARROW, columns_of_arrow
from tests.server.rest.asking import Asking

arrow = pytest.importorskip("pyarrow")
VECTORS = "/collections/c/vectors"
TWO = [[1.0, 2.0], [3.0, 4.0]]
Columns = list[tuple[str, Any]]


def lists(kind: Any = None) -> Any:
    return arrow.array(TWO, kind or arrow.list_(arrow.float32()))


def ids() -> Any:
    return arrow.array([1, 2], arrow.int64())


def stream(columns: Columns) -> bytes:
    table = arrow.Table.from_arrays(
        [column for _, column in columns], names=[name for name, _ in columns]
    )
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


REFUSED: dict[str, tuple[Callable[[], Columns], int]] = {
    "the vectors twice": (lambda: [("vector", lists()), ("vector", lists())], 35),
    "the ids three times": (lambda: [("vector", lists()), *[("id", ids())] * 3], 35),
    "no column": (list, 34),
    "dictionary": (
        lambda: [("vector", arrow.DictionaryArray.from_arrays(arrow.array([0, 1]), lists()))],
        11,
    ),
    "dictionary of ids": (lambda: [("vector", lists()), ("id", ids().dictionary_encode())], 12),
    "list view": (lambda: [("vector", lists(arrow.list_view(arrow.float32())))], 11),
    "list of lists": (lambda: [("vector", arrow.array([[[1.0]], [[2.0]]]))], 11),
    "list of bool": (lambda: [("vector", arrow.array([[True], [False]]))], 11),
    "list of nothing": (lambda: [("vector", arrow.array([[None], [None]]))], 11),
    "empty lists": (
        lambda: [("vector", arrow.array([[], []], arrow.list_(arrow.float32(), 0)))],
        11,
    ),
    "map": (
        lambda: [
            ("vector", arrow.array([[(1, 2.0)]] * 2, arrow.map_(arrow.int8(), arrow.float32())))
        ],
        11,
    ),
    "struct": (lambda: [("vector", arrow.array([{"a": 1}, {"a": 2}]))], 11),
    "binary": (lambda: [("vector", arrow.array([b"ab", b"cd"], arrow.binary(2)))], 11),
    "nulls": (lambda: [("vector", arrow.nulls(2))], 11),
    "unsigned ids": (
        lambda: [("vector", lists()), ("id", arrow.array([1, 2], arrow.uint64()))],
        12,
    ),
    "an id of null": (
        lambda: [("vector", lists()), ("id", arrow.array([1, None], arrow.int64()))],
        12,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_code(rest: Asking, case: str) -> None:
    rest.ask("POST", "/collections", {"collection_name": "c", "dimension": 2})
    made, code = REFUSED[case]
    assert rest.code("POST", VECTORS, content=stream(made()), headers={"Content-Type": ARROW}) == (
        400,
        code,
    )


def test_a_column_that_is_there_twice_is_named(rest: Asking) -> None:
    rest.ask("POST", "/collections", {"collection_name": "c", "dimension": 2})
    body = stream([("id", ids()), ("vector", lists()), ("id", ids())])
    status, told = rest.ask("POST", VECTORS, content=body, headers={"Content-Type": ARROW})
    assert (status, told["message"]) == (400, "Column 'id' is there 2 times. Send it once")


def test_other_columns_do_not_matter() -> None:
    rows, found = columns_of_arrow(
        bytearray(stream([("x", ids()), ("vector", lists()), ("x", ids())]))
    )
    assert (rows.tolist(), found) == (TWO, None)


def test_chunks_and_slices() -> None:
    chunked = arrow.chunked_array([lists().slice(1, 1), lists()])
    rows, found = columns_of_arrow(
        bytearray(stream([("vector", chunked), ("id", arrow.chunked_array([[7], [8, 9]]))]))
    )
    assert rows.tolist() == [TWO[1], *TWO] and found is not None and found.tolist() == [7, 8, 9]
