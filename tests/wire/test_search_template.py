"""Requests that were decoded by what a like one was decoded to are decoded as by the protobuf
runtime.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.wire import packed, requests, schema
from milvine.wire.search_template import SearchTemplates
from milvine.wire.varint import Malformed


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "SINGLE", SearchTemplates())


def told(data: bytes) -> Any:
    try:
        wanted = packed.decode_search(data)
    except Malformed:
        return "malformed"
    vectors = wanted.rows.vectors
    numbers = (
        None
        if vectors is None
        else (vectors.dtype.str, vectors.shape, np.nan_to_num(vectors).tobytes())
    )
    return (
        wanted.collection,
        wanted.tags,
        wanted.topk,
        wanted.params,
        wanted.rows.count,
        wanted.rows.elements,
        numbers,
    )


def unaided(data: bytes) -> Any:
    requests.SINGLE = SearchTemplates()
    return told(data)


def request(
    name: str, tags: tuple[str, ...], topk: int, params: str | None, vector: list[float], rows: int
) -> bytes:
    vectors = np.array([vector] * rows, dtype=np.float32)
    return packed.encode_search(name, vectors, topk, tags, params)


SHORT = st.sampled_from(["a", "bb", "\n\x04", ""])
REQUESTS = st.builds(
    request,
    SHORT,
    st.lists(SHORT, max_size=2).map(tuple),
    st.sampled_from([1, 10, 300]),
    st.sampled_from([None, "{}", '{"ef":8}']),
    st.sampled_from([[0.0], [1.0, 2.0], [0.0, 0.0, 0.0], [1e-40] * 5]),
    st.integers(0, 2),
)


@st.composite
def streams(draw: Any) -> list[bytes]:
    """Requests, some cut or with a byte changed, so that many are of one length."""
    made = []
    for data in draw(st.lists(REQUESTS, min_size=1, max_size=6)):
        made.append(data)
        if data and draw(st.booleans()):
            at = draw(st.integers(0, len(data) - 1))
            made.append(data[:at] + bytes((draw(st.integers(0, 255)),)) + data[at + 1 :])
        if draw(st.booleans()):
            made.append(
                data[: draw(st.integers(0, len(data)))]
                + draw(st.sampled_from([b"", b"\x20\x05", b"\x1a\x00"]))
            )
    return made * 2


@given(streams())
def test_as_if_nothing_were_known(stream: list[bytes]) -> None:
    requests.SINGLE = known = SearchTemplates()
    for data in stream:
        requests.SINGLE = known
        aided = told(data)
        assert aided == unaided(data)


def test_the_second_of_a_kind_needs_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (request("c", ("t",), 3, "{}", [at, 2.0], 1) for at in (1.0, 7.0))
    packed.decode_search(first)
    monkeypatch.setattr(requests, "decode", None)
    found = packed.decode_search(second)
    assert (found.collection, found.tags, found.topk, found.params) == ("c", ("t",), 3, "{}")
    assert found.rows.vectors is not None and found.rows.vectors.tolist() == [[7.0, 2.0]]
    assert found.rows.vectors.flags.writeable


def test_what_is_kept_is_bounded() -> None:
    for number in range(1000):
        packed.decode_search(request(f"c{number}", (), 3, "{}", [1.0] * (number + 1), 1))
    assert len(requests.SINGLE) <= 256


def test_bytes_of_the_runtime_and_ours_are_alike() -> None:
    record = schema.RowRecord(float_data=[1.0, 2.0])
    official = schema.SearchParam(
        collection_name="c", query_record_array=[record], topk=3
    ).SerializeToString()
    packed.decode_search(official)
    assert requests.SINGLE.find(request("c", (), 3, None, [5.0, 6.0], 1)) is not None


# n queries of one dimension take the bytes of one query of another where n * a + (n - 1) * header /
# 4 is the other.
_COLLIDING = (
    (2, 8, 3),
    (50, 256, 5),
    (32, 300, 9),
    (127, 384, 3),
    (255, 768, 3),
    (16, 50, 3),
    (4, 14, 3),
    (4, 19, 4),
)
_WIDTHS = sorted({width for pair in _COLLIDING for width in pair[:2]})
_COLLECTIONS = st.tuples(st.sampled_from(("a", "b", "a__", "b__")), st.sampled_from(_WIDTHS))


def _zeros(collection: tuple[str, int], rows: int) -> bytes:
    return request(collection[0], (), 10, "{}", [0.0] * collection[1], rows)


@given(
    st.lists(_COLLECTIONS, min_size=1, max_size=30),
    st.lists(st.tuples(_COLLECTIONS, st.sampled_from((1, 2, 3, 4, 5, 9))), min_size=1, max_size=30),
)
def test_no_batch_is_taken_for_one_query_of_another_width(
    asked: list[tuple[str, int]], batches: list[tuple[tuple[str, int], int]]
) -> None:
    requests.SINGLE = known = SearchTemplates()
    for collection in asked:
        packed.decode_search(_zeros(collection, 1))
    for collection, rows in batches:
        requests.SINGLE = known
        data = _zeros(collection, rows)
        aided = told(data)
        assert aided == unaided(data)


@pytest.mark.parametrize(("small", "large", "rows"), _COLLIDING)
def test_several_short_vectors_are_not_one_long_one(small: int, large: int, rows: int) -> None:
    name = "ab" if small >= 32 or large < 32 else "abcd"  # a longer length takes two bytes more
    batch, alone = _zeros((name, small), rows), _zeros(("ab", large), 1)
    assert len(batch) == len(alone), "the pair does not collide: the test tests nothing"
    packed.decode_search(_zeros((name, small), 1))
    packed.decode_search(alone)
    found = packed.decode_search(batch)
    assert (found.rows.count, found.rows.elements) == (rows, rows * small)
