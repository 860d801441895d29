"""Arguments are refused with the words of 1.x, and more kinds of vectors and ids are taken
(specification 5.5).
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from milvine.client import checks
from milvine.client.collection_calls import schema_of
from milvus import IndexType, MetricType, ParamError

LONG = (
    "A vector must be a non-empty, 2-dimensional array and must contain only elements with the"
    " float data type or the bytes data type."
)


NO_NUMBERS = ([["1", "2"]], [[None, 1.0]], [[1.0, "x"]], np.array([[1j]]), [[{}, {}]])


class Unsized:
    def __getitem__(self, at: int) -> list[float]:
        return [1.0]


class Column:
    """As numpy meets a Series or an Index of pandas, an array of Arrow, a tensor in main memory."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self._values, Exception):
            raise self._values
        return self._values

    def __str__(self) -> str:
        return "a column"


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2], [3, 4]],
        [[1.0, 2.0], [3.0, 4.0]],
        ((1, 2), (3, 4)),
        [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
        [array.array("f", [1, 2]), array.array("f", [3, 4])],
        *(np.array([[1, 2], [3, 4]], dtype=kind) for kind in ("f2", "f4", "f8", "i4", "u2", ">f4")),
        np.asfortranarray(np.array([[1.0, 2.0], [3.0, 4.0]])),
        np.arange(1, 9, dtype=np.float32).reshape(2, 4)[:, :2] * 0 + [[1, 2], [3, 4]],
    ],
)
def test_rows_of_numbers(rows: Any) -> None:
    vectors = checks.vectors(rows)
    assert vectors.dtype == np.float32 and vectors.flags.c_contiguous
    assert vectors.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_float32_array_is_not_copied() -> None:
    rows = np.ones((3, 4), dtype=np.float32)
    assert np.shares_memory(checks.vectors(rows), rows)


@pytest.mark.parametrize("row", [b"\x01\x02", bytearray(b"\x01\x02"), memoryview(b"\x01\x02")])
def test_rows_of_bytes(row: Any) -> None:
    vectors = checks.vectors([row, b"\x03\x00"])
    assert vectors.dtype == np.uint8 and vectors.tolist() == [[1, 2], [3, 0]]


def test_arrays_of_uint8_are_binary_and_lists_of_small_ints_are_not() -> None:
    packed = checks.vectors(np.array([[1, 255], [3, 0]], dtype=np.uint8)[:, ::-1])
    assert (
        packed.dtype == np.uint8
        and packed.flags.c_contiguous
        and packed.tolist() == [[255, 1], [0, 3]]
    )
    assert checks.vectors([[1, 255], [3, 0]]).dtype == np.float32
    assert checks.vectors(np.array([[1, 2]], dtype=np.int8)).dtype == np.float32


def test_arrays_of_objects() -> None:
    column = np.empty(2, dtype=object)
    column[:] = [[1.0, 2.0], [3.0, 4.0]]
    assert checks.vectors(column).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert checks.vectors(np.array([b"a", b"b"], dtype=object)).tolist() == [[97], [98]]


def test_doubles_beyond_float32_become_infinite() -> None:
    assert checks.vectors([[1e300, -1e300]]).tolist() == [[float("inf"), float("-inf")]]


MASKED = "Invalid vector: values of it are masked, which stand for missing ones"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, LONG),
        ([], LONG),
        (5, LONG),
        ("text", LONG),
        ({1: [1.0]}, LONG),
        (np.empty((0, 4), dtype=np.float32), LONG),
        (np.ones((2, 2, 2)), LONG),
        (np.float32(1), LONG),
        ([1, 2], "Invalid vector: Vector must be list-like object"),
        (np.ones(4), "Invalid vector: Vector must be list-like object"),
        ([[1.0], 2.0], "Invalid vector: Vector must be list-like object"),
        (["ab", "cd"], "Invalid vector: Vector must be list-like object"),
        ([[]], "Invalid vector: Check if empty-list exists"),
        ([[1.0], []], "Invalid vector: Check if empty-list exists"),
        ([b"a", b""], "Invalid vector: Check if empty-list exists"),
        ([[1.0], [1.0, 2.0]], "Whole vectors must have the same dimension"),
        ([b"a", b"ab"], "Whole vectors must have the same dimension"),
        ([b"a", [1.0]], "Invalid vector: rows of bytes and rows of numbers in one call"),
        (np.ma.masked_equal([[1.0, 2.0]], 2), MASKED),
        (np.ma.masked_equal(np.ones((1, 2), np.uint8), 1), MASKED),
    ],
)
def test_rows_that_are_none(rows: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.vectors(rows)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        *((rows, "must hold real numbers") for rows in NO_NUMBERS),
        (Column(TypeError("can't convert cuda:0")), "Column cannot be read as vectors: can't conv"),
        ([Column(TypeError("can't convert cuda:0"))], "list cannot be read as vectors: can't conv"),
        (Unsized(), "2-dimensional array"),
        (list, "2-dimensional array"),
    ],
)
def test_what_holds_no_numbers(rows: Any, reason: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.vectors(rows)
    assert reason in str(caught.value)


@given(
    numpy_st.arrays(
        np.float32, numpy_st.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
    )
)
def test_lists_say_the_same_as_arrays(rows: Any) -> None:
    np.testing.assert_array_equal(checks.vectors(rows.tolist()), rows)
    np.testing.assert_array_equal(checks.vectors(list(rows)), rows)


class Scalar:
    """As a tensor or an array without a dimension."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i8", "<i4")


@pytest.mark.parametrize(
    "ids",
    [
        *([0, 7], (0, 7), range(0, 8, 7), array.array("q", [0, 7]), ["0", "7"], [0, "7"]),
        *(np.array([0, 7], dtype=kind) for kind in INTEGERS),
        *([np.dtype(kind).type(0), 7] for kind in INTEGERS),
        *([Scalar(0), 7], [np.array(0), np.array(7)], [np.uint64(0), np.int8(7)]),
        *(
            np.array([0, 7], dtype=object),
            np.array(["0", "7"]),
            np.array([0, np.uint64(7)], dtype=object),
        ),
        *(
            Column(np.array([0, 7])),
            Column(np.array([0, 7], dtype=object)),
            Column(np.array([0, 3, 7])[::2]),
        ),
        np.arange(0, 14)[::7],
    ],
)
def test_ids(ids: Any) -> None:
    taken = checks.ids(ids)
    assert taken.dtype == np.int64 and taken.flags.c_contiguous and taken.tolist() == [0, 7]


def test_the_largest_id() -> None:
    for kind in (
        list,
        tuple,
        np.array,
        lambda ids: np.array(ids, dtype=object),
        lambda ids: np.array(ids, np.uint64),
    ):
        assert checks.ids(kind([2**63 - 1])).tolist() == [2**63 - 1]
    assert checks.ids([2**63 - 1, np.uint64(1), "2"]).tolist() == [2**63 - 1, 1, 2]


NOT_WHOLE, RANGE, NO_LIST = "ids are whole numbers", "from 0 to 2", "is no list, tuple or array"


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        *((ids, NO_LIST) for ids in (None, 5, "12", b"12", {1}, {1: 2}, iter([1]))),
        *(
            (ids, "there is none")
            for ids in ([], (), range(0), np.array([], int), np.array([], object))
        ),
        *(
            (ids, NOT_WHOLE)
            for ids in ([1.0], ["a"], ["-1"], ["1.5"], ["9" * 5000], [1, None], [[1]], [1, [2]])
        ),
        *(
            (ids, NOT_WHOLE)
            for ids in ([True], [1, np.True_], np.array([True]), np.array([1, True], dtype=object))
        ),
        *(
            (ids, NOT_WHOLE)
            for ids in (
                np.array([1.5]),
                np.array([1.0]),
                [np.float32(1)],
                np.array([1, 2.0], object),
            )
        ),
        *(
            (ids, NOT_WHOLE)
            for ids in (
                np.array(["2020-01-01"], "M8[D]"),
                [np.array([1, 2])],
                array.array("d", [1]),
            )
        ),
        *(
            (ids, NOT_WHOLE)
            for ids in (Column(np.array([1.0, np.nan])), Column(np.array([1, None], dtype=object)))
        ),
        *(
            (ids, RANGE)
            for ids in ([-1], [2**63], [2**64], [-1, 2**63], [10**30], ["9" * 20], np.array([-1]))
        ),
        *(
            (ids, RANGE)
            for ids in (np.array([2**63], dtype=np.uint64), [np.uint64(2**63)], range(-1, 2))
        ),
        (np.array([2**70], dtype=object), RANGE),
        *(
            (ids, "dimensions")
            for ids in (np.array(3), np.array([[1]]), Column(np.array([[1], [2]])))
        ),
        (np.ma.masked_equal([1, 2], 2), "masked"),
        (
            Column(TypeError("can't convert cuda:0 device type tensor")),
            "Column cannot be read as an array: can't conv",
        ),
    ],
)
def test_illegal_ids(ids: Any, reason: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.ids(ids)
    told = str(caught.value)
    assert told.startswith("`ids` value ") and " is illegal: " in told and reason in told


def test_a_long_illegal_value_is_cut() -> None:
    with pytest.raises(ParamError) as caught:
        checks.ids([*range(100_000), -1])
    assert len(str(caught.value)) < 1100


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_ids_pass_unchanged(ids: list[int]) -> None:
    assert checks.ids(ids).tolist() == ids


HALF = "a\ud800"  # half of a surrogate pair: no UTF-8 says it
ILLEGAL = [
    (checks.name, HALF, "`collection_name` value a\\ud800 is illegal"),
    (checks.tag, HALF, "`partition_tag` value a\\ud800 is illegal"),
    (checks.idempotency_key, HALF, "`idempotency_key` value a\\ud800 is illegal"),
    (lambda value: checks.texts(value, "x"), [HALF], "`x` value ['a\\ud800'] is illegal"),
    (checks.name, "", "`collection_name` value  is illegal"),
    (checks.name, None, "`collection_name` value None is illegal"),
    (checks.name, 5, "`collection_name` value 5 is illegal"),
    (checks.topk, True, "`topk` value True is illegal"),
    (checks.topk, "5", "`topk` value 5 is illegal"),
    (checks.topk, 2**70, f"`topk` value {2**70} is illegal"),
    (checks.metric_type, 0, "`metric_type` value 0 is illegal"),
    (checks.metric_type, 8, "`metric_type` value 8 is illegal"),
    (checks.metric_type, "L2", "`metric_type` value L2 is illegal"),
    (checks.index_type, 0, "`index_type` value 0 is illegal"),
    (checks.index_type, "FLAT", "`index_type` value FLAT is illegal"),
    (checks.index_type, True, "`index_type` value True is illegal"),
    (checks.tag, None, "`partition_tag` value None is illegal"),
    (checks.tag, 5, "`partition_tag` value 5 is illegal"),
    (
        lambda value: checks.texts(value, "partition_tag_array"),
        "tag",
        "`partition_tag_array` value tag is illegal",
    ),
    (
        lambda value: checks.texts(value, "partition_tag_array"),
        [1],
        "`partition_tag_array` value [1] is illegal",
    ),
    (checks.params, [1], "Params must be a dictionary type"),
    (checks.seconds, "soon", "`timeout` value soon is illegal"),
    (checks.seconds, float("nan"), "`timeout` value nan is illegal"),
    (checks.seconds, True, "`timeout` value True is illegal"),
    (
        checks.seconds,
        -1,
        "`timeout` value -1 is illegal: seconds are 0 or more, None waits for ever",
    ),
    (
        checks.ids,
        bytearray(b"a"),
        "`ids` value bytearray(b'a') is illegal: bytearray is no list, tuple or array",
    ),
    (checks.collections, "name", "Collection name array must be type of list"),
    (checks.collections, ["a", ""], "`collection_name` value  is illegal"),
    (
        schema_of,
        [],
        "Param type incorrect, expect <class 'dict'> but get <class 'list'> instead",
    ),
    (schema_of, {"dimension": 4}, "collection_name is required"),
    (
        schema_of,
        {"collection_nmae": "a", "dimension": 4},
        "collection_name is required; 'collection_nmae' looks like it",
    ),
    (
        schema_of,
        {"collection_name": "a", "dimensions": 4, 5: 6},
        "dimension is required; 'dimensions' looks like it",
    ),
    (schema_of, {"collection_name": "a"}, "dimension is required"),
    (
        schema_of,
        {"collection_name": "a", "dimension": "4"},
        "`dimension` value 4 is illegal",
    ),
    (
        schema_of,
        {"collection_name": "a", "dimension": 4, "index_file_size": 1.5},
        "`index_file_size` value 1.5 is illegal",
    ),
    (
        schema_of,
        {"collection_name": "a", "dimension": 4, "metric_type": "IP"},
        "`metric_type` value IP is illegal",
    ),
]


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), ("2.5", 2.5), (0, 0.0), (float("inf"), None), (1e12, None)]
)
def test_seconds(value: Any, seconds: float | None) -> None:
    assert checks.seconds(value) == seconds


@pytest.mark.parametrize(("check", "value", "message"), ILLEGAL)
def test_illegal_values(check: Any, value: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        check(value)
    assert str(caught.value) == message


def test_legal_values() -> None:
    assert checks.name("é") == "é" and checks.ids(np.ma.array([1, 2])).tolist() == [1, 2]
    assert checks.tag(None, optional=True) == "" and checks.tag("") == ""
    assert checks.texts(None, "x") == () and checks.texts(["a"], "x") == ("a",)
    assert checks.index_type(None) is IndexType.FLAT and checks.index_type(2) is IndexType.IVF_FLAT
    assert checks.metric_type(np.int32(2)) is MetricType.IP
    assert checks.topk(np.int64(3)) == 3 and checks.topk(-1) == -1
    assert checks.seconds("1") == 1.0 and checks.seconds(2) == 2.0 and checks.seconds(None) is None
    assert checks.params(None) == {} and checks.collections(None) == []


def test_the_callers_dict_is_left_alone() -> None:
    param = {"collection_name": "a", "dimension": 4, "more": 1}
    before = dict(param)
    assert schema_of(param) == ("a", 4, 1024, MetricType.L2, {"more": 1})
    assert param == before
