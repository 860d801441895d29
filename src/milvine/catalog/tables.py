"""The SQL tables. Ids of collections and partitions are never used again (AUTOINCREMENT)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.types import TypeEngine

METADATA = MetaData()
_BIG: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")

FACTS = Table(
    "facts",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

COLLECTIONS = Table(
    "collections",
    METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("dimension", Integer, nullable=False),
    Column("metric", Integer, nullable=False),
    Column("index_file_size_mb", Integer, nullable=False),
    Column("id_mode", Integer, nullable=False),
    Column("index_type", Integer, nullable=False),
    Column("index_params", Text, nullable=False),
    Column("flushed_lsn", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

PARTITIONS = Table(
    "partitions",
    METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("collection_id", BigInteger, nullable=False, index=True),
    Column("tag", Text, nullable=False),
    sqlite_autoincrement=True,
)

SEGMENTS = Table(
    "segments",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, nullable=False, index=True),
    Column("partition_id", BigInteger, nullable=False),
    Column("rows_file", String(255), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("data_bytes", BigInteger, nullable=False),
    Column("min_lsn", BigInteger, nullable=False),
    Column("max_lsn", BigInteger, nullable=False),
    Column("index_type", Integer, nullable=False),
    Column("index_params", Text, nullable=False),
    Column("index_file", String(255)),
    Column("index_bytes", BigInteger, nullable=False),
    Column("tombstone_file", String(255)),
    Column("dead", BigInteger, nullable=False),
)

INSERT_KEYS = Table(
    "insert_keys",
    METADATA,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    # Keys of the collection up to this row's last.
    Column("total", BigInteger, primary_key=True, autoincrement=False),
    Column("packed", LargeBinary, nullable=False),
)

OLD_SUMS = Table(
    "sums",  # of format 1
    METADATA,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)

SUMS = Table(
    "row_sums",
    METADATA,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)
