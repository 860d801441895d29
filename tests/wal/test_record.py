"""Frames: what goes in comes out; anything less than a whole frame is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.wal.record import (
    BadFrame,
    DeleteRecord,
    InsertRecord,
    decode,
    decode_frame,
    encode,
    next_frame,
)

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5)


def frame_bytes(record, lsn=7, synced=6):
    return np.frombuffer(b"".join(bytes(part) for part in encode(record, lsn, synced)), np.uint8)


def insert(ids, width=8, fill=3):
    rows = np.full((len(ids), width), fill, np.uint8)
    return InsertRecord(1, 2, np.array(ids, np.int64), rows, True)


@given(IDS, st.integers(1, 40), st.integers(0, 255))
def test_insert_round_trip(ids, width, fill):
    data = frame_bytes(insert(ids, width, fill))
    frame = decode_frame(data, 0)
    record = decode(frame)
    assert (frame.lsn, frame.synced_lsn, frame.end, len(data) % 8) == (7, 6, len(data), 0)
    assert isinstance(record, InsertRecord) and record.generated
    assert record.ids.tolist() == ids and record.rows.tolist() == [[fill] * width] * len(ids)


@given(IDS)
def test_delete_round_trip(ids):
    record = decode(decode_frame(frame_bytes(DeleteRecord(4, 0, np.array(ids, np.int64))), 0))
    assert isinstance(record, DeleteRecord)
    assert (record.collection_id, record.partition_id, record.ids.tolist()) == (4, 0, ids)


def test_cut_at_every_byte_is_refused():
    data = frame_bytes(insert([1, 2], 5))
    padding = len(data) - (decode_frame(data, 0).payload.nbytes + 40)
    for end in range(len(data) - padding):
        with pytest.raises(BadFrame):
            decode_frame(data[:end], 0)


def test_every_changed_byte_is_noticed():
    data = frame_bytes(insert([1], 8))
    for at in range(len(data)):
        damaged = data.copy()
        damaged[at] ^= 0x40
        with pytest.raises(BadFrame):
            decode_frame(damaged, 0)


def test_the_next_frame_is_found_behind_damage():
    first, second = frame_bytes(insert([1]), lsn=1), frame_bytes(insert([2]), lsn=2)
    data = np.concatenate([first, second])
    data[3] ^= 1
    found = next_frame(data, 1)
    assert found is not None and found.lsn == 2
    assert next_frame(first, 8) is None
