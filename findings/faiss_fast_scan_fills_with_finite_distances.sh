#!/usr/bin/env bash
# faiss fast-scan: what fills an answer up where there are too few rows has a finite, believable
# distance.
#
# Elsewhere in faiss a place without a hit has label -1 and the largest float as its distance. The
# fast-scan kernels keep distances in 16 bits while they search, and turn the largest of these back
# into a float by the scale of the query: 4,334 for one, 3,334 for the next, where real ones are 7
# to 58. A merge of several indexes by distance alone, a check like `distance < 1e30` or a caller's
# own limit lets -1 through as a row.
#
# It matters to us because a collection is searched segment by segment and the hits are merged: a
# hit is told by its label, never by its distance.
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
WIDTH = 32
rows = np.random.default_rng(1).standard_normal((2000, WIDTH)).astype(np.float32)
fillers = {}
for name in ("PQ8x4", "IVF1,PQ8x4", "PQ8x4fs", "IVF1,PQ8x4fs"):
    index = faiss.index_factory(WIDTH, name)
    index.train(rows)
    index.add(rows[:3])
    distances, labels = index.search(rows[:2], 5)
    fillers[name] = distances[labels < 0]
    print(f"{name}: hits {distances[labels >= 0].round(1)}, fillers {fillers[name]}")
largest = np.finfo(np.float32).max
usual = all((fillers[name] == largest).all() for name in ("PQ8x4", "IVF1,PQ8x4"))
odd = all((fillers[name] < 1e6).all() for name in ("PQ8x4fs", "IVF1,PQ8x4fs"))
sys.exit(None if usual and odd else "this has changed")
PY
venv/bin/python look.py
