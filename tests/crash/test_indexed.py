"""The engine with every index type agrees with exact search, whatever is done to it, under several
settings.

MILVINE_SOAK_EXAMPLES=2000 for a longer run.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from milvine.testing.indexed import SETTINGS, IndexCase, IndexMachine
from milvine.types import IndexType, MetricType

EXAMPLES = max(3, int(os.environ.get("MILVINE_SOAK_EXAMPLES", "30")) // 10)
T, M = IndexType, MetricType
LISTS, FEW, ALL = ({"nlist": 4}, {"nlist": 16}), {"nprobe": 3}, {"nprobe": 16}
GRAPH = {"search_length": 40, "out_degree": 16, "candidate_pool_size": 60, "knng": 20}
CASES = {
    "flat": IndexCase(T.FLAT, ({},), {}, exact=True),
    "flat-ip": IndexCase(T.FLAT, ({},), {}, M.IP, exact=True),
    "ivf-flat": IndexCase(T.IVF_FLAT, LISTS, FEW, floor=0.6),
    "ivf-flat-all-lists": IndexCase(T.IVF_FLAT, LISTS, ALL, M.IP, exact=True),
    "ivf-sq8": IndexCase(T.IVF_SQ8, LISTS, ALL, exact_distances=False, floor=0.9),
    "ivf-sq8h": IndexCase(T.IVF_SQ8H, LISTS, ALL, M.IP, exact_distances=False, floor=0.9),
    "ivf-pq": IndexCase(T.IVF_PQ, ({"nlist": 4, "m": 16}, {"nlist": 4, "m": 8, "nbits": 4}), ALL,
                        exact_distances=False,
                        floor=0.3),
    "hnsw": IndexCase(T.HNSW, ({"M": 8, "efConstruction": 40},), {"ef": 10}, floor=0.85),
    "hnsw-ip": IndexCase(T.HNSW, ({"M": 8, "efConstruction": 40},), {"ef": 10}, M.IP, floor=0.85),
    "rnsg": IndexCase(T.RNSG, (GRAPH,), {"search_length": 10}, floor=0.8),
    "rnsg-ip": IndexCase(T.RNSG, (GRAPH,), {"search_length": 10}, M.IP, floor=0.8),
    "annoy": IndexCase(T.ANNOY, ({"n_trees": 4}, {"n_trees": 1}), {"search_k": 100}, floor=0.6),
    "annoy-ip": IndexCase(T.ANNOY, ({"n_trees": 8},), {"search_k": 100}, M.IP, floor=0.6),
    "ivf-sq8-refined": IndexCase(T.IVF_SQ8, LISTS, {"nprobe": 16, "refine": 3}, floor=0.9),
    "ivf-pq-refined-ip": IndexCase(T.IVF_PQ, ({"nlist": 4, "m": 16},), {"nprobe": 16, "refine": 30},
        M.IP, floor=0.8),
    "ivf-pqfs": IndexCase(T.IVF_PQFS, (*LISTS, {"nlist": 4, "m": 8}), ALL, floor=0.85),
    "ivf-pqfs-ip": IndexCase(T.IVF_PQFS, LISTS, ALL, M.IP, floor=0.85),
    "ivf-rabitq": IndexCase(T.IVF_RABITQ, LISTS, ALL, floor=0.8),
    "ivf-rabitq-ip": IndexCase(T.IVF_RABITQ, LISTS, FEW, M.IP, floor=0.5),
    "hnsw-sq8": IndexCase(T.HNSW_SQ8, ({"M": 8, "efConstruction": 40},), {"ef": 10}, floor=0.85),
    "hnsw-sq8-ip": IndexCase(T.HNSW_SQ8, ({"M": 8, "efConstruction": 40},), {"ef": 10}, M.IP,
                             floor=0.85),
    "bits-hamming": IndexCase(T.FLAT, ({},), {}, M.HAMMING, exact=True),
    "bits-substructure": IndexCase(T.FLAT, ({},), {}, M.SUBSTRUCTURE, exact=True),
    "bits-ivf-jaccard": IndexCase(T.IVF_FLAT, LISTS, ALL, M.JACCARD, exact=True),
    "bits-ivf-tanimoto": IndexCase(T.IVF_FLAT, LISTS, ALL, M.TANIMOTO, exact=True),
    "bits-ivf-hamming": IndexCase(T.IVF_FLAT, LISTS, FEW, M.HAMMING, floor=0.5),
}  # fmt: skip
WAYS = {
    "tiny buffer": replace(SETTINGS, insert_buffer_size=4096, wal_file_bytes=4096),
    "in memory": replace(SETTINGS, mmap=False, open_files_max=2),
    "background": replace(
        SETTINGS, background=True, auto_flush_interval=0.02, auto_flush_tail_bytes=1,
        file_cleanup_timeout=0,
        unindexed_rows_max=100,
    ),
}  # fmt: skip


def run(case: IndexCase, ways: object = SETTINGS, examples: int = EXAMPLES) -> None:
    machine = type("Machine", (IndexMachine,), {"case": case, "settings": ways})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=12)
    )


@pytest.mark.parametrize("name", CASES)
def test_answers_are_right_whatever_was_done(name: str) -> None:
    if CASES[name].type is T.ANNOY and find_spec("annoy") is None:
        pytest.skip("annoy is not installed")
    run(CASES[name])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["ivf-flat-all-lists", "hnsw"])
def test_answers_are_right_under_other_settings(name: str, way: str) -> None:
    run(CASES[name], WAYS[way], max(2, EXAMPLES // 2))
