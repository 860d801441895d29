"""Component files: views of what was written; every damaged byte is noticed, and named by file and
offset.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.catalog.model import SegmentRecord
from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.segment.cache import FileCache
from milvine.segment.component import ComponentFile
from milvine.segment.layout import BLOCK
from milvine.segment.reader import Segment
from milvine.segment.writer import RowSet, write_rows, write_tombstones
from milvine.storage.local import LocalStorage
from milvine.types import Collection, MetricType, Partition, RowMask

COLLECTION = Collection(3, "c", 8, MetricType.L2, 1024)
PARTITION = Partition(5, 3, "t")


def write(folder, ids, lsns=None, name="rows-1.mlv", segment_id=11):
    storage = LocalStorage(folder)
    ids = np.array(ids, np.int64)
    lsns = np.arange(len(ids)) if lsns is None else np.array(lsns, np.int64)
    vectors = np.arange(len(ids) * 8, dtype=np.float32).reshape(-1, 8)
    halves = [vectors[: len(ids) // 2], vectors[len(ids) // 2 :]]
    write_rows(storage, name, COLLECTION, [RowSet(segment_id, PARTITION, ids, lsns, halves, (7,))])
    record = SegmentRecord(segment_id, 3, 5, name, len(ids), 0, int(lsns.min()), int(lsns.max()))
    return Segment(record, COLLECTION, FileCache(storage, 4)), vectors


def test_views_of_what_was_written(tmp_path):
    segment, vectors = write(tmp_path, [5, 3, 9, 3], [1, 1, 4, 4])
    assert segment.ids().tolist() == [5, 3, 9, 3]
    assert np.array_equal(segment.vectors(), vectors)
    assert segment.vectors().ctypes.data % 64 == 0
    assert segment.lsns().tolist() == [1, 1, 4, 4]
    assert not segment.vectors().flags.writeable
    assert segment.tombstones() is None and segment.index(None) is None


def test_files_describe_themselves(tmp_path):
    write(tmp_path, [5, 3], [2, 6])
    entry = ComponentFile("rows-1.mlv", LocalStorage(tmp_path).read("rows-1.mlv")).describe(11)
    assert entry["collection"]["name"] == "c" and entry["collection"]["dimension"] == 8
    assert entry["partition"] == {"id": 5, "tag": "t"}
    assert (entry["rows"], entry["lsn_range"], entry["id_range"], entry["replaces"]) == (
        2,
        [2, 6],
        [3, 5],
        [7],
    )


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=40),
    st.lists(st.integers(-25, 25), max_size=10),
)
def test_find_agrees_with_a_loop(tmp_path_factory, ids, wanted):
    segment, _ = write(tmp_path_factory.mktemp("find"), ids)
    rows = segment.find(np.unique(np.array(wanted, np.int64)))
    assert sorted(rows.tolist()) == [row for row, each in enumerate(ids) if each in wanted]


def test_tombstones_round_trip(tmp_path):
    mask = RowMask.all_live(9).without(np.array([1, 8, 8]))
    write_tombstones(LocalStorage(tmp_path), "dead-1.mlv", COLLECTION, [(11, mask)], 4)
    record = SegmentRecord(11, 3, 5, "rows-1.mlv", 9, 0, 0, 0, tombstone_file="dead-1.mlv", dead=2)
    read = Segment(record, COLLECTION, FileCache(LocalStorage(tmp_path), 4)).tombstones()
    assert read is not None and read.dead == 2
    assert np.flatnonzero(~read.to_bool()).tolist() == [1, 8]


def test_every_damaged_byte_is_noticed(tmp_path):
    write(tmp_path, [4, 2, 3])
    path = tmp_path / "rows-1.mlv"
    whole = path.read_bytes()
    noticed = 0
    for at in range(0, len(whole), 3):
        data = np.frombuffer(whole, np.uint8).copy()
        data[at] ^= 0x10
        with pytest.raises((CorruptFile, UnsupportedFormat), match=r"rows-1\.mlv"):
            file = ComponentFile("rows-1.mlv", data)
            for section in ("vectors", "ids", "order", "lsn_starts", "lsns"):
                file.verify(11, section)
        noticed += 1
    assert noticed > 100


def test_the_damaged_block_is_named(tmp_path):
    segment, _ = write(tmp_path, range(2 * BLOCK // 32))
    path = tmp_path / segment.record.rows_file
    data = bytearray(path.read_bytes())
    data[BLOCK + 12345] ^= 1
    path.write_bytes(data)
    file = ComponentFile("rows-1.mlv", LocalStorage(tmp_path).read("rows-1.mlv"))
    with pytest.raises(CorruptFile, match=f"rows-1.mlv is damaged at byte {BLOCK}: "):
        file.verify(11, "vectors")
    file.verify(11, "ids")


CURE = "What is not damaged can be saved: see `milvine repair`"


@pytest.mark.parametrize("at", [100, -1])
def test_whoever_wants_damaged_rows_is_told_where_they_are_and_what_helps(tmp_path, at):
    segment, _ = write(tmp_path, range(20))
    path = tmp_path / segment.record.rows_file
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    files = FileCache(LocalStorage(tmp_path), 1)

    def read():
        files.get(path.name).verify(11, "vectors")

    for _ in range(2):  # found, and known
        with pytest.raises(CorruptFile, match=rf"^{path} is damaged at byte \d+: .*\. {CURE}$"):
            read()


def test_so_is_whoever_wants_a_section_that_is_not_there(tmp_path):
    segment, _ = write(tmp_path, range(20))
    file = FileCache(LocalStorage(tmp_path), 1).get(segment.record.rows_file)
    for ask in (lambda: file.describe(12), lambda: file.span(11, "nothing")):
        with pytest.raises(CorruptFile, match=rf"^{tmp_path}/rows-1.mlv is damaged.*{CURE}$"):
            ask()


def test_a_cut_file_is_refused(tmp_path):
    write(tmp_path, [1, 2])
    data = LocalStorage(tmp_path).read("rows-1.mlv")
    for end in range(0, len(data), 7):
        with pytest.raises(CorruptFile):
            ComponentFile("x", data[:end])


def test_the_cache_is_bounded_and_shared(tmp_path):
    for number in range(5):
        write(tmp_path, [1], name=f"rows-{number}.mlv")
    cache = FileCache(LocalStorage(tmp_path), 2)
    first = cache.get("rows-0.mlv")
    assert cache.get("rows-0.mlv") is first
    cache.get("rows-1.mlv")
    cache.get("rows-0.mlv")
    cache.get("rows-2.mlv")
    assert cache.get("rows-0.mlv") is first  # the longest unused went, not this one
    cache.forget("rows-0.mlv")
    assert cache.get("rows-0.mlv") is not first
