#!/usr/bin/env bash
# usearch and voyager: a handful of rows that hold a NaN spoil searches for all the other rows, even
# exact ones.
#
# Each comparison with a NaN is false, so a sorted list that meets one is out of order from there
# on. In usearch 5 such rows among 5,000 come first in nearly every search, by `exact=True` as well,
# where no graph is involved. voyager loses most of the other rows once it holds 50 (as does hnswlib
# 0.8.0, on which it is built). All take the rows without a word. faiss, with the same rows, never
# takes a NaN for nearer, and its flat index finds what it found before.
#
# It matters to us because clients of 1.x may store a NaN, and a bad row must not cost another its
# place: such rows are to be counted, to be told of, and to be no part of a graph.
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
ROWS, WIDTH = 5000, 16
random = np.random.default_rng(1)
clean = random.standard_normal((ROWS, WIDTH), dtype=np.float32)
order = random.permutation(ROWS)


def shares(bad):
    rows, asked = clean.copy(), order[-1000:]
    rows[order[:bad], 3] = np.nan
    flat = faiss.IndexFlatL2(WIDTH)
    flat.add(rows)
    graph = Index(ndim=WIDTH, metric="l2sq", dtype="f32")
    graph.add(np.arange(ROWS), rows)
    other = voyager.Index(voyager.Space.Euclidean, WIDTH)
    other.add_items(rows)
    first = {
        "faiss flat": flat.search(rows[asked], 1)[1],
        "usearch exact": graph.search(rows[asked], 1, exact=True).keys,
        "usearch graph": graph.search(rows[asked], 1).keys,
        "voyager": other.query(rows[asked], 1, query_ef=64)[0],
    }
    return {n: float(np.mean(np.asarray(f).reshape(-1) == asked)) for n, f in first.items()}


seen = {bad: shares(bad) for bad in (0, 5, 50)}
for bad, each in seen.items():
    print(f"{bad} rows with a NaN; share of the others that find themselves: {each}")
as_described = (
    min(seen[0].values()) > 0.98
    and seen[5]["usearch exact"] < 0.1
    and max(seen[50]["usearch graph"], seen[50]["voyager"]) < 0.5
    and seen[50]["faiss flat"] == 1
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
