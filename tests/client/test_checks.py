"""Arguments are refused with the words of 1.x, and more kinds of vectors and ids are taken (specification 5.5)."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from milvine.client import checks
from milvus import IndexType, MetricType, ParamError

LONG = (
    "A vector must be a non-empty, 2-dimensional array and must contain only elements with the float data type "
    "or the bytes data type."
)


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
    assert packed.dtype == np.uint8 and packed.flags.c_contiguous and packed.tolist() == [[255, 1], [0, 3]]
    assert checks.vectors([[1, 255], [3, 0]]).dtype == np.float32
    assert checks.vectors(np.array([[1, 2]], dtype=np.int8)).dtype == np.float32


def test_arrays_of_objects() -> None:
    column = np.empty(2, dtype=object)
    column[:] = [[1.0, 2.0], [3.0, 4.0]]
    assert checks.vectors(column).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert checks.vectors(np.array([b"a", b"b"], dtype=object)).tolist() == [[97], [98]]


def test_doubles_beyond_float32_become_infinite() -> None:
    assert checks.vectors([[1e300, -1e300]]).tolist() == [[float("inf"), float("-inf")]]


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
    ],
)
def test_rows_that_are_none(rows: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.vectors(rows)
    assert str(caught.value) == message


@pytest.mark.parametrize("rows", [[["1", "2"]], [[None, 1.0]], [[1.0, "x"]], np.array([[1j]]), [[{}, {}]]])
def test_elements_that_are_no_numbers(rows: Any) -> None:
    with pytest.raises(TypeError):
        checks.vectors(rows)


@given(numpy_st.arrays(np.float32, numpy_st.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)))
def test_lists_say_the_same_as_arrays(rows: Any) -> None:
    np.testing.assert_array_equal(checks.vectors(rows.tolist()), rows)
    np.testing.assert_array_equal(checks.vectors(list(rows)), rows)


@pytest.mark.parametrize(
    "ids",
    [[0, 7], (0, 7), np.array([0, 7]), np.array([0, 7], dtype=np.uint8), range(0, 8, 7), ["0", "7"], [0, "7"]],
)
def test_ids(ids: Any) -> None:
    taken = checks.ids(ids)
    assert taken.dtype == np.int64 and taken.tolist() == [0, 7]


def test_the_largest_id() -> None:
    assert checks.ids([2**63 - 1]).tolist() == [2**63 - 1]


@pytest.mark.parametrize(
    "ids",
    [
        *(None, [], (), 5, "12", b"12", {1}, [-1], [1.0], ["a"], ["-1"], ["1.5"], [None]),
        *([2**63], [2**64], [[1]], [1, [2]]),
        *(np.array([1.5]), np.array([-1]), np.array(3), np.array([2**63], dtype=np.uint64)),
    ],
)
def test_illegal_ids(ids: Any) -> None:
    with pytest.raises(ParamError) as caught:
        checks.ids(ids)
    assert str(caught.value) == f"`ids` value {ids} is illegal"


def test_a_long_illegal_value_is_cut() -> None:
    with pytest.raises(ParamError) as caught:
        checks.ids([*range(100_000), -1])
    assert len(str(caught.value)) < 1100


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_ids_pass_unchanged(ids: list[int]) -> None:
    assert checks.ids(ids).tolist() == ids


ILLEGAL = [
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
    (lambda value: checks.texts(value, "partition_tag_array"), "tag", "`partition_tag_array` value tag is illegal"),
    (lambda value: checks.texts(value, "partition_tag_array"), [1], "`partition_tag_array` value [1] is illegal"),
    (checks.params, [1], "Params must be a dictionary type"),
    (checks.seconds, "soon", "`timeout` value soon is illegal"),
    (checks.collections, "name", "Collection name array must be type of list"),
    (checks.collections, ["a", ""], "`collection_name` value  is illegal"),
    (checks.schema_of, [], "Param type incorrect, expect <class 'dict'> but get <class 'list'> instead"),
    (checks.schema_of, {"dimension": 4}, "collection_name is required"),
    (checks.schema_of, {"collection_name": "a"}, "dimension is required"),
    (checks.schema_of, {"collection_name": "a", "dimension": "4"}, "`dimension` value 4 is illegal"),
    (
        checks.schema_of,
        {"collection_name": "a", "dimension": 4, "index_file_size": 1.5},
        "`index_file_size` value 1.5 is illegal",
    ),
    (
        checks.schema_of,
        {"collection_name": "a", "dimension": 4, "metric_type": "IP"},
        "`metric_type` value IP is illegal",
    ),
]


@pytest.mark.parametrize(("check", "value", "message"), ILLEGAL)
def test_illegal_values(check: Any, value: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        check(value)
    assert str(caught.value) == message


def test_legal_values() -> None:
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
    assert checks.schema_of(param) == ("a", 4, 1024, MetricType.L2, {"more": 1})
    assert param == before
