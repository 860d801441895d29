"""SQLite with sqlite-vec: exact search only. Threads have connections of their own.

Through apsw, for many a Python is built without SQLite's extensions.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import apsw
import sqlite_vec


class SqliteVec:
    version = str(sqlite_vec.__version__)

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        if setup["metric"] != "L2":
            raise NotImplementedError("its metrics are L2 and cosine")
        self.address = address
        Path(address).mkdir(parents=True, exist_ok=True)
        self.local = threading.local()
        if setup["create"]:
            self._connection().execute("PRAGMA journal_mode = WAL")
            self._connection().execute("PRAGMA synchronous = FULL")
            self._connection().execute(
                f"CREATE VIRTUAL TABLE rows USING vec0(v float[{setup['dimension']}])"
            )

    def _connection(self) -> Any:
        if not hasattr(self.local, "connection"):
            connection = apsw.Connection(f"{self.address}/rows.db")
            connection.enable_load_extension(True)
            connection.load_extension(sqlite_vec.loadable_path())
            self.local.connection = connection
        return self.local.connection

    def insert(self, ids: Any, vectors: Any) -> None:
        with self._connection() as connection:
            pairs = zip(ids.tolist(), vectors)
            connection.executemany(
                "INSERT INTO rows (rowid, v) VALUES (?, ?)", ((i, v.tobytes()) for i, v in pairs)
            )

    def loaded(self) -> None:
        """Every transaction is committed."""

    def build(self, kind: str, params: dict[str, int]) -> None:
        """There is no index."""

    def tune(self, kind: str, params: dict[str, int]) -> None:
        """There is nothing to set."""

    def prepare(self, query: Any) -> bytes:
        return bytes(query.tobytes())

    def search(self, query: Any, k: int) -> Any:
        found = self._connection().execute(
            "SELECT rowid FROM rows WHERE v MATCH ? AND k = ?", (query, k)
        )
        return [row[0] for row in found]

    def close(self) -> None:
        self._connection().close()


def connect(address: str, setup: dict[str, Any]) -> SqliteVec:
    return SqliteVec(address, setup)
