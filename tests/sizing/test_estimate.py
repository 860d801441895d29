"""The estimates, held against databases of each index type, and the official tool's against its
worked example.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milvine
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalArgument, IllegalDimension, IllegalIndexType, MilvineError
from milvine.sizing.estimate import Estimate, estimate
from milvine.sizing.official import official
from milvine.sizing.shape import Load
from milvine.types import IndexSetting, IndexType, MetricType

ROWS, DIMENSION, BITS, BATCH, WARM = 12_000, 48, 512, 3_000, 4_096
SHARE = 0.15


@dataclass(frozen=True)
class Kind:
    type: IndexType
    params: dict[str, Any] = field(default_factory=dict)
    metric: MetricType = MetricType.L2

    @property
    def name(self) -> str:
        return f"{self.type.name}_{self.metric.name}"

    @property
    def dimension(self) -> int:
        return BITS if self.metric.is_binary else DIMENSION

    def estimate(self, rows: int = ROWS) -> Estimate:
        return estimate(
            Load(rows, self.dimension, self.metric, self.type, self.params, rows_per_insert=BATCH)
        )


_RNSG = {"search_length": 20, "out_degree": 16, "candidate_pool_size": 50, "knng": 12}
KINDS = (
    Kind(IndexType.FLAT),
    Kind(IndexType.IVF_FLAT, {"nlist": 96}),
    Kind(IndexType.IVF_SQ8, {"nlist": 96}),
    Kind(IndexType.IVF_PQ, {"nlist": 96, "m": 12}),
    Kind(IndexType.IVF_PQ, {"nlist": 96, "m": 12, "nbits": 6}, MetricType.IP),
    Kind(IndexType.HNSW, {"M": 12, "efConstruction": 40}),
    Kind(IndexType.RNSG, _RNSG),
    Kind(IndexType.ANNOY, {"n_trees": 8}),
    Kind(IndexType.IVF_PQFS, {"nlist": 96}),
    Kind(IndexType.IVF_PQFS, {"nlist": 96, "m": 16}, MetricType.IP),
    Kind(IndexType.IVF_RABITQ, {"nlist": 96}),
    Kind(IndexType.HNSW_SQ8, {"M": 12, "efConstruction": 40}),
    Kind(IndexType.FLAT, {}, MetricType.HAMMING),
    Kind(IndexType.IVF_FLAT, {"nlist": 96}, MetricType.JACCARD),
)
_WARMING = (IndexType.FLAT, IndexType.IVF_FLAT, IndexType.HNSW, IndexType.ANNOY)
"""Types that bring all the code into memory that any type needs."""
by_name = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def _fill(database: Database, name: str, kind: Kind, rows: int) -> None:
    rng = np.random.default_rng(0)
    database.create_collection(name, kind.dimension, 1024, kind.metric)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        if kind.metric.is_binary:
            vectors: Any = rng.integers(0, 256, (count, BITS // 8), dtype=np.uint8)
        else:
            vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
        database.collection(name).insert(vectors, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a collection of each kind, and a small one of each to warm up with."""
    path = tmp_path_factory.mktemp("sizing")
    settings = Settings(background=False, build_in_subprocess=False, build_threads=1)
    with Database.open(path, settings) as database:
        for kind in KINDS:
            if kind.type is IndexType.ANNOY:
                pytest.importorskip("annoy")
            for name, rows in ((kind.name, ROWS), (f"warm_{kind.name}", WARM)):
                if rows == ROWS or kind.type in _WARMING:
                    _fill(database, name, kind, rows)
                    database.flush([name])
                    database.collection(name).create_index(IndexSetting.of(kind.type, kind.params))
    return path


def _files(folder: Path, name: str) -> int:
    with Database.open(folder, Settings(background=False)) as database:
        segments = database.collection(name).state.version.segments
        assert len(segments) == 1
        return sum(
            (folder / "segments" / file).stat().st_size for file in segments[0].segment.needed
        )


@by_name
def test_files_are_as_large_as_estimated(folder: Path, kind: Kind) -> None:
    assert kind.estimate().disk.stable == pytest.approx(_files(folder, kind.name), rel=SHARE)


@pytest.fixture(scope="module")
def residency(folder: Path) -> dict[str, dict[str, int]]:
    if not Path("/proc/self/smaps").exists():
        pytest.skip("only Linux tells what is resident")
    names = [kind.name for kind in KINDS]
    arguments = [
        str(folder),
        json.dumps([f"warm_{kind.name}" for kind in KINDS if kind.type in _WARMING]),
        json.dumps(names),
    ]
    script, source = Path(__file__).with_name("residency.py"), Path(milvine.__file__).parents[1]
    # Python's own allocator takes and gives back a MiB at a time, which would be counted with
    # whatever came just then.
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONMALLOC": "malloc"}
    done = subprocess.run(
        [sys.executable, script, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


@by_name
def test_memory_is_what_is_resident(residency: dict[str, dict[str, int]], kind: Kind) -> None:
    """Mapped pages of its files after load_collection, and what was allocated to open and search
    it.
    """
    memory, found = kind.estimate().memory, residency[kind.name]
    assert memory.mapped == pytest.approx(found["mapped"], rel=SHARE)
    assert memory.loaded == pytest.approx(found["mapped"] + found["anonymous"], rel=SHARE)
    # The objects around it.
    assert memory.anonymous == pytest.approx(found["anonymous"], rel=SHARE, abs=384 << 10)


def test_the_log_is_as_large_as_estimated(tmp_path: Path) -> None:
    kind = KINDS[0]
    with Database.open(tmp_path, Settings(background=False)) as database:
        _fill(database, "c", kind, ROWS)
        size = sum(file.stat().st_size for file in (tmp_path / "wal").iterdir())
    assert kind.estimate().disk.log == pytest.approx(size, rel=0.001)


def test_the_official_tool_by_its_worked_example() -> None:
    said = official(Load(10_000_000, 128, MetricType.L2, IndexType.IVF_SQ8, {"nlist": 4096}))
    assert said is not None
    assert (said.memory, said.disk) == (1_290_485_760, 6_410_485_760)
    assert (
        official(Load(1000, 8, MetricType.L2, IndexType.HNSW, {"M": 16, "efConstruction": 200}))
        is None
    )


def test_segments_are_those_of_the_target_size() -> None:
    found = estimate(
        Load(
            1_000_000,
            128,
            index_file_size_mb=64,
            index_type=IndexType.IVF_FLAT,
            params={"nlist": 100},
        )
    )
    assert (found.segments, found.indexed_segments) == (8, 8)
    small = estimate(Load(4095, 128, index_type=IndexType.IVF_FLAT, params={"nlist": 100}))
    assert (small.segments, small.indexed_segments, small.disk.indexes, small.build_anonymous) == (
        1,
        0,
        0,
        0,
    )


_HNSW = {"M": 16, "efConstruction": 200}


@pytest.mark.parametrize(
    ("load", "error", "text"),
    [
        (Load(0, 8), IllegalArgument, "Invalid vectors value: 0. Valid range is [1, "),
        (Load(1, 0), IllegalDimension, "Invalid dimension: 0. Valid range is [1, 32768]"),
        (Load(1, 12, MetricType.HAMMING), IllegalDimension, "a multiple of 8"),
        (
            Load(1, 8, index_file_size_mb=5000),
            IllegalArgument,
            "Invalid index_file_size value: 5000",
        ),
        (
            Load(1, 8, MetricType.HAMMING, IndexType.HNSW, _HNSW),
            IllegalIndexType,
            "HNSW does not serve HAMMING",
        ),
        (Load(1, 8, index_type=IndexType.SPTAG_BKT), IllegalIndexType, "SPTAG_BKT"),
        (
            Load(1, 8, index_type=IndexType.HNSW, params={**_HNSW, "M": 65}),
            IllegalArgument,
            "range is [4, 64]",
        ),
        (
            Load(1, 10, index_type=IndexType.IVF_PQ, params={"nlist": 1, "m": 4}),
            IllegalDimension,
            "divided by m",
        ),
        (Load(1, 8, rows_per_insert=0), IllegalArgument, "rows_per_insert"),
    ],
)
def test_what_no_collection_can_be_is_refused(
    load: Load, error: type[MilvineError], text: str
) -> None:
    with pytest.raises(error) as told:
        estimate(load)
    assert text in str(told.value)
