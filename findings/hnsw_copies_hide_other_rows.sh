#!/usr/bin/env bash
# HNSW graphs of three libraries: 1 % of identical rows hide most of the others, and deleting them
# does not bring all of those back.
#
# A row of a graph keeps a few links, those to its nearest rows. Rows of zeros, as a failed
# embedding leaves them, are all nearest to each other, so their links go round among themselves;
# and as zeros lie in the middle of unit vectors, they are on most paths, and a search that comes in
# does not get out. Nothing is refused and nothing warns: a search for a row that is stored answers
# with another. Where rows can be deleted, the links stay as they are. hnswlib 0.8.0, on which
# voyager is built, did the same when it was tried.
#
# It matters to us because real data has placeholders and duplicates: a graph is to be built over
# distinct rows, and without those that were deleted.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    faiss-cpu==1.15.1 numpy==2.4.6 packaging==26.4 \
    usearch==2.26.6 numkong==7.8.6 tqdm==4.70.1 voyager==2.2.3
cat > look.py <<'PY'
import sys
from importlib.metadata import version

import faiss
import numpy as np
import voyager
from usearch.index import Index

print(*(f"{name} {version(name)}" for name in ("faiss-cpu", "usearch", "voyager")))
ROWS, WIDTH, COPIES, M, BUILD, SEARCH = 10_000, 32, 100, 16, 100, 64
random = np.random.default_rng(1)
clean = random.standard_normal((ROWS, WIDTH), dtype=np.float32)
clean /= np.linalg.norm(clean, axis=1, keepdims=True)
zeros = random.choice(ROWS, COPIES, replace=False)
asked = np.setdiff1d(np.arange(ROWS), zeros)[:1000]
spoilt = clean.copy()
spoilt[zeros] = 0


def in_faiss(rows):
    index = faiss.IndexHNSWFlat(WIDTH, M)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILD, SEARCH
    index.add(rows)
    return (lambda: index.search(rows[asked], 1)[1]), None


def in_usearch(rows):
    index = Index(ndim=WIDTH, metric="l2sq", dtype="f32", connectivity=M,
                  expansion_add=BUILD, expansion_search=SEARCH)
    index.add(np.arange(ROWS), rows)
    return (lambda: index.search(rows[asked], 1).keys), index.remove


def in_voyager(rows):
    index = voyager.Index(voyager.Space.Euclidean, WIDTH, M=M, ef_construction=BUILD)
    index.add_items(rows)
    return (lambda: index.query(rows[asked], 1, query_ef=SEARCH)[0]), index.mark_deleted


def found(search):
    return float(np.mean(np.asarray(search()).reshape(-1) == asked))


for build in (in_faiss, in_usearch, in_voyager):
    without = found(build(clean)[0])
    search, delete = build(spoilt)
    seen = found(search)
    print(f"{build.__name__}: found by themselves {without:.1%}, beside copies {seen:.1%}")
    if without < 0.98 or seen > 0.8:
        sys.exit("this has changed")
    for row in zeros if delete else ():
        delete(int(row))
    if delete and found(search) > 0.98:
        sys.exit("this has changed: deleting the copies brings the others back")
    print(f"    copies deleted: {found(search):.1%}" if delete else "    deletes nothing")
PY
venv/bin/python look.py
