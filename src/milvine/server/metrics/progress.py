"""How far index builds are."""

from __future__ import annotations

from dataclasses import dataclass

from milvine.engine.database import Database
from milvine.engine.inspection import Building, CollectionFacts
from milvine.errors import CollectionNotFound


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """The index of one collection.

    Attributes:
        index_type: as `create_index` was told.
        total_rows: rows of segments that have the index or are to get it; smaller segments get
            none.
        built_rows: of those, the ones that have it.
        tail_rows: rows that are in no segment yet, so in neither number.
        building: builds that run now; `done` rows of each went through the stage it is in.
    """

    collection_name: str
    index_type: str
    total_rows: int
    built_rows: int
    tail_rows: int
    building: tuple[Building, ...]


def build_progress(database: Database) -> dict[str, BuildProgress]:
    """The progress of every collection, by name.

    Raises:
        DatabaseClosed: after close.
    """
    return {each.name: _progress(each) for each in database.inspect().collections}


def collection_progress(database: Database, name: str) -> BuildProgress:
    """The progress of one collection.

    Raises:
        CollectionNotFound, DatabaseClosed.
    """
    found = build_progress(database).get(name)
    if found is None:
        raise CollectionNotFound.named(name)
    return found


def _progress(facts: CollectionFacts) -> BuildProgress:
    return BuildProgress(
        facts.name,
        facts.index_type,
        facts.built_rows + facts.pending_rows,
        facts.built_rows,
        facts.tail_rows,
        facts.building,
    )
