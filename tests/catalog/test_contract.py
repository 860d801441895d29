"""What every catalog does, wherever it is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milvine.catalog.model import Edit, InsertKey, SegmentRecord
from milvine.catalog.place import IN_FOLDER, NOTE, open_catalog
from milvine.catalog.postgres import schema
from milvine.catalog.sql import Catalog
from milvine.catalog.tables import OLD_SUMS
from milvine.errors import CatalogFailed, StorageFailed
from milvine.storage.checksum import crc32c
from milvine.types import IdMode, IndexSetting, IndexType, MetricType


class Place:
    """A folder with its catalog, opened as often as one likes."""

    def __init__(self, root: Path, uri: str) -> None:
        self.path, self.uri = root / "catalog.sqlite", uri
        self.open: list[Catalog] = []

    def catalog(self, read_only: bool = False) -> Catalog:
        self.open.append(open_catalog(self.path, self.uri, read_only))
        return self.open[-1]

    def sql(self, statement: str) -> list[list[Any]]:
        """By another session than the catalog's, as an administrator would; rows, if any."""
        if self.uri == IN_FOLDER:
            with closing(sqlite3.connect(self.path)) as connection, connection:
                return [list(row) for row in connection.execute(statement).fetchall()]
        psycopg = pytest.importorskip("psycopg")
        folder = json.loads((self.path.parent / NOTE).read_text())["folder"]
        with psycopg.connect(self.uri) as connection:
            connection.execute(f"SET search_path TO {schema(folder)}")
            answer = connection.execute(statement)
            return [list(row) for row in answer.fetchall()] if answer.description else []

    def again(self) -> Catalog:
        self.close()
        return self.catalog()

    def close(self) -> None:
        while self.open:
            self.open.pop().close()


@pytest.fixture
def place(tmp_path: Path, uri: str) -> Iterator[Place]:
    place = Place(tmp_path, uri)
    yield place
    place.close()


def record(number: int, collection_id: int, partition_id: int) -> SegmentRecord:
    return SegmentRecord(
        number, collection_id, partition_id, f"rows-{number}.mlv", 10, 160, number, number + 9
    )


def filled(catalog: Catalog) -> int:
    """A collection with a partition, three segments, keys and an index setting."""
    stored = catalog.create_collection("Bücher", 4, MetricType.L2, 1024, 5)
    number = stored.collection.id
    catalog.create_partition(number, "größer 🙂")
    segments = tuple(record(each, number, stored.partitions[0].id) for each in (101, 102, 103))
    keys = tuple(InsertKey(bytes([each]) * 16, each, -each, 3, bool(each % 2)) for each in range(4))
    setting = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8})
    catalog.apply(
        Edit(
            number,
            segments,
            flushed_lsn=112,
            id_mode=IdMode.GIVEN,
            index=setting,
            last_id=2**62,
            keys=keys,
        )
    )
    return number


def test_what_is_stored_is_there_again(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    before = catalog.contents()
    assert place.again().contents() == before
    (stored,) = before.collections
    assert (stored.collection.name, stored.collection.id, stored.flushed_lsn) == (
        "Bücher",
        number,
        112,
    )
    assert [part.tag for part in stored.partitions] == ["_default", "größer 🙂"]
    assert [each.id for each in stored.segments] == [101, 102, 103]
    assert (len(stored.keys), before.durable_lsn, before.last_id) == (4, 112, 2**62)


def test_an_edit_replaces_and_removes_at_once(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    first = catalog.contents().collections[0].segments[0]
    marked = SegmentRecord(
        **{**{f: getattr(first, f) for f in first.__slots__}, "dead": 3, "tombstone_file": "dead-1"}
    )
    catalog.apply(Edit(number, (record(104, number, first.partition_id),), (marked,), (102, 103)))
    assert [each.id for each in catalog.contents().collections[0].segments] == [101, 104]
    assert place.again().contents().collections[0].segments[0] == marked


def test_facts_only_grow(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    catalog.apply(Edit(number, flushed_lsn=50, last_id=7))
    found = catalog.contents()
    assert (found.durable_lsn, found.last_id, found.collections[0].flushed_lsn) == (112, 2**62, 50)


def test_numbers_are_not_given_again(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    partition = catalog.contents().collections[0].partitions[-1]
    catalog.drop_partition(partition)
    catalog.drop_collection(number, 2**62 + 1)
    assert catalog.contents().collections == () and catalog.contents().last_id == 2**62 + 1
    catalog = place.again()
    catalog.define()
    later = catalog.create_collection("later", 4, MetricType.IP, 1, 0)
    assert later.collection.id > number and later.partitions[0].id > partition.id
    assert catalog.contents().last_collection_id == later.collection.id


def test_a_refused_change_leaves_nothing(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    before, commits = catalog.contents(), catalog.commits
    with pytest.raises(CatalogFailed):
        catalog.create_collection("Bücher", 8, MetricType.IP, 1, 0)
    again = record(101, number, before.collections[0].partitions[0].id)
    with pytest.raises(CatalogFailed):
        catalog.apply(Edit(number, (again,), removed=(102,), flushed_lsn=500))
    after = catalog.contents()
    # PostgreSQL gives no id twice, not even then.
    assert after.last_collection_id >= before.last_collection_id
    assert (
        replace(after, last_collection_id=before.last_collection_id) == before
        and catalog.commits == commits
    )
    catalog.drop_collection(number)
    assert catalog.commits == commits + 1


def test_it_knows_what_was_written(place: Place) -> None:
    catalog = place.catalog()
    filled(catalog)
    assert catalog.check() == []
    place.sql("UPDATE segments SET rows = 11 WHERE id = 102")
    assert catalog.check() == ["the entries of collection 1 are not what was written"]


def test_a_later_change_does_not_make_damage_right(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    place.sql("UPDATE segments SET rows = 11 WHERE id = 102")
    place.sql("DELETE FROM segments WHERE id = 101")
    partition = catalog.create_partition(number, "later")
    catalog.apply(
        Edit(number, (record(104, number, partition.id),), removed=(102,), flushed_lsn=200)
    )
    catalog.drop_partition(partition)
    assert catalog.check() == [f"the entries of collection {number} are not what was written"]
    catalog.drop_collection(number)
    assert catalog.check() == []


def test_every_kind_of_change_keeps_the_sums_right(place: Place) -> None:
    catalog = place.catalog()
    first = filled(catalog)
    others = [
        catalog.create_collection(name, 4, MetricType.IP, 1, 0).collection.id for name in ("b", "c")
    ]
    edits = [
        Edit(n, (record(n * 1000, n, n),), flushed_lsn=300 + n, id_mode=IdMode.GENERATED)
        for n in others
    ]
    catalog.apply(*edits, Edit(first, removed=(101, 103), index=IndexSetting()))
    found = {each.collection.id: each for each in catalog.contents().collections}
    assert [len(found[number].segments) for number in (first, *others)] == [1, 1, 1]
    assert [found[n].flushed_lsn for n in others] == [300 + n for n in others]
    assert catalog.contents().durable_lsn == 300 + others[-1]
    catalog.drop_partition(found[first].partitions[1])
    catalog.drop_collection(others[0])
    assert catalog.check() == place.again().check() == []


def test_edits_of_one_commit_are_made_together_or_not_at_all(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    other = catalog.create_collection("other", 4, MetricType.IP, 1, 0).collection.id
    before = catalog.contents()
    with pytest.raises(CatalogFailed):
        catalog.apply(
            Edit(other, (record(500, other, 9),), flushed_lsn=9),
            Edit(number, (record(101, number, 1),)),
        )
    assert catalog.contents() == before and catalog.check() == []


def made_old(place: Place) -> None:
    """Have sums as a catalog of format 1 has them: of all rows of a collection; 0, of the facts."""
    held: dict[int, object] = {0: place.sql("SELECT * FROM facts ORDER BY key")}
    for row in place.sql("SELECT * FROM collections"):
        parts = (
            place.sql(f"SELECT * FROM {table} WHERE collection_id = {row[0]} ORDER BY id")
            for table in ("partitions", "segments")
        )
        held[row[0]] = [[row], *parts]
    place.sql("DELETE FROM row_sums")
    for number, rows in held.items():
        value = crc32c(json.dumps(rows, separators=(",", ":")).encode())
        place.sql(f"INSERT INTO {OLD_SUMS.name} (collection_id, value) VALUES ({number}, {value})")


def test_sums_of_format_1_count_until_the_collection_changes(place: Place) -> None:
    catalog = place.catalog()
    number = filled(catalog)
    other = catalog.create_collection("other", 4, MetricType.IP, 1, 0).collection.id
    made_old(place)
    assert catalog.check() == []
    catalog.create_partition(other, "p")
    assert catalog.check() == []
    place.sql("UPDATE segments SET rows = 11 WHERE id = 102")
    place.sql(f"UPDATE collections SET dimension = 5 WHERE id = {other}")
    assert catalog.check() == [
        f"the entries of collection {n} are not what was written" for n in (number, other)
    ]


def calls(act: Callable[[], object]) -> int:
    """How many functions are called, and values looked at one by one."""
    count = 0

    def note(frame: object, what: str, of: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def test_what_a_partition_costs_does_not_depend_on_how_many_there_are(place: Place) -> None:
    catalog = place.catalog()
    number = catalog.create_collection("a", 4, MetricType.L2, 1024, 0).collection.id
    catalog.drop_partition(catalog.create_partition(number, "statements are compiled once"))
    few = calls(lambda: catalog.create_partition(number, "one of few"))
    gone = catalog.create_partition(number, "gone")
    few_dropped = calls(lambda: catalog.drop_partition(gone))
    parts = [catalog.create_partition(number, f"more {each}") for each in range(300)]
    assert calls(lambda: catalog.create_partition(number, "one of many")) < 1.2 * few
    assert calls(lambda: catalog.drop_partition(parts[100])) < 1.2 * few_dropped


def test_a_reader_sees_commits_and_follows_them(place: Place) -> None:
    catalog = place.catalog()
    filled(catalog)
    reader = place.catalog(read_only=True)
    seen, sign = reader.contents(), reader.mark()
    assert seen == catalog.contents() and reader.mark() == sign
    catalog.create_collection("second", 4, MetricType.L2, 1, 0)
    assert reader.mark() != sign
    assert [each.collection.name for each in reader.contents().collections] == ["Bücher", "second"]
    with pytest.raises(CatalogFailed):
        reader.create_collection("third", 4, MetricType.L2, 1, 0)


def test_a_copy_is_a_sqlite_file_that_says_the_same(place: Place, tmp_path: Path) -> None:
    catalog = place.catalog()
    filled(catalog)
    dropped = catalog.create_collection("dropped", 4, MetricType.L2, 1, 0)
    catalog.drop_collection(dropped.collection.id)
    reader = place.catalog(read_only=True)
    (tmp_path / "copy").mkdir()
    reader.copy_to(tmp_path / "copy" / "catalog.sqlite")
    copy = Catalog(tmp_path / "copy" / "catalog.sqlite")
    try:
        assert copy.contents() == catalog.contents() and copy.check() == []
        assert (
            copy.create_collection("next", 4, MetricType.L2, 1, 0).collection.id
            > dropped.collection.id
        )
    finally:
        copy.close()


def test_it_is_used_from_several_threads(place: Place) -> None:
    catalog = place.catalog()
    filled(catalog)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(catalog.contents())) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert found == [catalog.contents()] * 2


def test_a_commit_is_noticed_by_whoever_looked_while_it_was_on_its_way(tmp_path: Path) -> None:
    """SQLite writes the frames of a commit to `-wal` before its index in `-shm` says that they can
    be read.
    """
    early, late = Place(tmp_path / "early", IN_FOLDER), Place(tmp_path / "late", IN_FOLDER)
    early.path.parent.mkdir()
    filled(early.catalog())
    shutil.copytree(early.path.parent, late.path.parent)
    writer, reader = late.catalog(), early.catalog(read_only=True)
    writer.create_collection("second", 4, MetricType.L2, 1, 0)
    before = reader.contents()
    put(late, early, "-wal")
    seen = reader.mark()
    assert reader.contents() == before
    put(late, early, "-shm")
    assert reader.mark() != seen
    assert reader.contents() == writer.contents() != before
    seen = reader.mark()
    assert reader.mark() == seen
    early.open.pop(0)  # its file was written to by others: it is not closed as if nothing had been
    early.close()
    late.close()


def put(source: Place, target: Place, suffix: str) -> None:
    """Overwrite a file of a catalog that is open."""
    data = Path(f"{source.path}{suffix}").read_bytes()
    with open(f"{target.path}{suffix}", "r+b") as file:
        file.write(data)


def test_a_reader_sees_the_catalog_that_took_the_place_of_another(tmp_path: Path) -> None:
    first, second = Place(tmp_path / "first", IN_FOLDER), Place(tmp_path / "second", IN_FOLDER)
    for place in (first, second):
        place.path.parent.mkdir()
    filled(first.catalog())
    other = second.catalog().create_collection("other", 4, MetricType.L2, 1, 0)
    first.close()
    second.close()
    reader = first.catalog(read_only=True)
    seen = reader.mark()
    os.replace(second.path, first.path)
    assert reader.mark().catalog != seen.catalog
    assert [each.collection for each in reader.contents().collections] == [other.collection]
    first.path.unlink()
    with pytest.raises(StorageFailed, match="is gone"):
        reader.mark()
    reader.close()
