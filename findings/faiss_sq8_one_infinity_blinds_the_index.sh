#!/usr/bin/env bash
# faiss SQ8: one infinity in one row of the training data, and no search finds any row any more.
#
# The quantizer keeps a smallest value and a range for each dimension. An infinity makes the range
# infinite, every row's distance becomes NaN, and every search answers label -1, with HNSW over SQ8
# as well. A NaN in the same place does no harm, since no comparison takes it for a bound, and the
# types that train by k-means (IVF, PQ) refuse both. So the check that one gets to know there is
# missing just where a single value does the most harm.
#
# It matters to us because clients of 1.x may store infinities: a quantizer is to be trained on
# finite rows.
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

print("faiss", faiss.__version__)
WIDTH = 16
clean = np.random.default_rng(1).standard_normal((3000, WIDTH)).astype(np.float32)
asked = np.arange(100, 600)
found = {}
for value in (0.0, np.nan, np.inf):
    rows = clean.copy()
    rows[7, 3] = value
    for name in ("SQ8", "HNSW16,SQ8", "SQfp16"):
        index = faiss.index_factory(WIDTH, name)
        index.train(rows)
        index.add(rows)
        labels = index.search(clean[asked], 1)[1][:, 0]
        share = found[name, str(value)] = float(np.mean(labels == asked))
        none = float(np.mean(labels < 0))
        print(f"{name}, {value} in row 7: {share:.1%} find themselves, {none:.0%} have no hit")
blind = {key for key, share in found.items() if share < 0.9}
as_described = blind == {("SQ8", "inf"), ("HNSW16,SQ8", "inf")}
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
