#!/usr/bin/env bash
# faiss 1.15: a vector finds another neighbour in a large batch than alone, from 128,000 floats of
# queries on.
#
# `faiss.cvar.distance_compute_blas_threshold` used to be a number of queries, 20, and still is in
# much that is written about it. Now it is 128,000 and compared with queries times dimensions: 1,000
# queries of 128 dimensions are measured by BLAS as |q|^2 + |x|^2 - 2qx, 999 of them one by one as
# (q - x)^2. The first form loses its digits for rows far from the origin (here 1,000 in each
# dimension, as counts or coordinates may be): 2 % of the stored rows are no longer their own
# nearest, in a flat index, and the answer depends on who else is in the batch. Who sets the
# variable to a number of queries, as was right, turns BLAS on for batches far smaller than meant.
#
# It matters to us because queries of several callers may share a batch, and that must not change an
# answer.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    faiss-cpu==1.15.1 numpy==2.4.6 packaging==26.4
cat > look.py <<'PY'
import sys

import faiss
import numpy as np

print("faiss", faiss.__version__, "threshold", faiss.cvar.distance_compute_blas_threshold)
WIDTH = 128
random = np.random.default_rng(1)
rows = (random.standard_normal((6000, WIDTH)) + 1000).astype(np.float32)
index = faiss.IndexFlatL2(WIDTH)
index.add(rows)


def themselves(queries):
    distances, labels = index.search(rows[:queries], 1)
    found = float(np.mean(labels[:, 0] == np.arange(queries)))
    print(f"{queries} queries: {found:.1%} find themselves, largest distance {distances.max():g}")
    return found, float(distances.max())


few, below, at = themselves(15), themselves(999), themselves(1000)
faiss.cvar.distance_compute_blas_threshold = 20
print("threshold set to 20")
lowered = themselves(15)  # fewer than 20 queries, yet no longer exact
as_described = few == below == (1, 0) and at[0] < 1 and lowered[1] > 0
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
