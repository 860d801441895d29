#!/bin/bash
# ScaNN and USearch: a search that finds fewer rows than it was asked for says so in one call and
# hides it in the other. With one query the answer is simply shorter. With several queries in a
# call it is a full table, filled up with 0 for the row (ScaNN) or the key (USearch) and NaN for
# the distance; USearch has beside it a field of counts, ScaNN nothing. Row 0 is a row, and a key
# of 0 may be one, here it is none at all: who reads numbers alone takes a row that was not found,
# or that does not exist, for a hit, and a set of hits made of them holds row 0 for every query
# that found too little. It needs no odd data: few leaves searched, or fewer rows than hits.
#
# It matters to Milvine because the benchmark compares hits of these libraries with the true ones,
# where row 0 may be counted as found, and because its own fillers have to be told from rows: they
# have id -1 and the largest float32, in a call of one query as in one of many.
#
# Ends with 0 while both libraries behave so, with 1 when one no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scann==1.4.2 usearch==2.26.6 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from scann.scann_ops.py import scann_ops_pybind
from usearch.index import Index

ROWS, K = 5, 8
rows = np.random.default_rng(0).standard_normal((ROWS, 16)).astype(np.float32)

searcher = scann_ops_pybind.builder(rows, K, "squared_l2").score_brute_force().build()
index = Index(ndim=16, metric="l2sq", dtype="f32")
index.add(np.arange(100, 100 + ROWS), rows)

one = searcher.search(rows[0], final_num_neighbors=K)
many = searcher.search_batched(rows[:2], final_num_neighbors=K)
found = index.search(rows[0], K)
several = index.search(rows[:2], K)

seen = []
for name, ids, batch_ids, batch_distances in (
    ("scann", one[0], many[0], many[1]),
    ("usearch", found.keys, several.keys, several.distances),
):
    print(f"{name} {version(name)}: {ROWS} rows, {K} hits asked for")
    print(f"  one query: {len(ids)} hits {ids.tolist()}")
    print(f"  two queries: {batch_ids[0].tolist()}, distances end {batch_distances[0, -3:].tolist()}")
    missing = batch_ids[:, ROWS:]
    seen.append(
        len(ids) == ROWS
        and batch_ids.shape == (2, K)
        and (missing == 0).all()
        and np.isnan(batch_distances[:, ROWS:]).all()
    )
print(f"  counts of usearch: {several.counts.tolist()}; of scann: none")
sys.exit(not all(seen))
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
