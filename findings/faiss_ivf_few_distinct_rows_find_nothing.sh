#!/usr/bin/env bash
# faiss: an IVF index of few distinct rows answers nothing at all to half of the searches for the
# very rows it holds.
#
# k-means that is asked for more lists than there are distinct rows splits a list by moving two
# copies of its centroid a little apart, as it would split a crowded one. All rows go to one of the
# copies, and the lists of the others stay empty. A query a hair beside a stored row may be nearest
# to an empty list: with 2 distinct rows in 16 lists most such queries get label -1 at `nprobe` 1,
# and still at 2. A stored row fares little better, half of the searches for it find nothing: a
# large batch is placed by BLAS when it is added, a small one by subtraction when it is searched
# for, and rounding decides between the copies. Nothing warns, for there are training points enough.
#
# It matters to us because flags, placeholders and test data have few distinct rows: no more lists
# than these are to be asked for, or empty ones are not to count as looked at.
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
ROWS, WIDTH, LISTS, DISTINCT, QUERIES = 5000, 32, 16, 2, 500
random = np.random.default_rng(1)
distinct = random.standard_normal((DISTINCT, WIDTH)).astype(np.float32)
rows = distinct[random.integers(0, DISTINCT, ROWS)]
same = distinct[random.integers(0, DISTINCT, QUERIES)]
beside = same + 0.01 * random.standard_normal(same.shape).astype(np.float32)
index = faiss.IndexIVFFlat(faiss.IndexFlatL2(WIDTH), WIDTH, LISTS)
index.train(rows)
index.add(rows)
sizes = [index.invlists.list_size(i) for i in range(LISTS)]
print(f"{ROWS} rows, {DISTINCT} of them distinct, in lists of", sizes)
nothing = {}
for nprobe in (1, 2, LISTS):
    index.nprobe = nprobe
    for name, queries in (("stored rows", same), ("rows beside them", beside)):
        share = nothing[nprobe, name] = float(np.mean(index.search(queries, 1)[1] < 0))
        print(f"nprobe {nprobe}, {name}: {share:.0%} of the searches without any hit")
as_described = (
    sizes.count(0) > LISTS / 2
    and nothing[1, "rows beside them"] > 0.2
    and nothing[LISTS, "rows beside them"] == 0
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
