#!/usr/bin/env bash
# faiss 1.15: an index of bytes takes the digits after the point from queries, if the dimension is a
# multiple of 32 (on x86-64), and takes queries as they are, if it is not.
#
# `IndexScalarQuantizer` with QT_8bit_direct stores rows of whole numbers from 0 to 255 as bytes, and
# nothing is said of queries. At 16, 24, 48 or 112 dimensions the distance of a query with halves is
# that of the floats. At 32, 64, 96 or 128 the query is cut to bytes first (0.9 becomes 0), and the
# distance is that of whole numbers: 0 for a query that is 0.9 away from its row in every dimension.
# QT_8bit_direct_signed does the same. So the same data gives other distances, and other neighbours,
# when zeros are appended to all vectors; and comparing whole numbers takes a fifth of the time that
# floats take, so appending zeros may also make a search much quicker.
#
# It matters to us because exact searches go through such codes first: queries are rounded by us, so
# that both ways give the same number, and codes are padded to a multiple of 32 where that is small
# enough.
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

print("faiss", faiss.__version__, faiss.get_compile_options())
cut, whole = [], []
for width in (16, 24, 32, 48, 64, 96, 112, 128):
    rows = np.random.default_rng(1).integers(0, 255, (500, width)).astype(np.float32)
    query = rows[:1] + np.float32(0.9)
    index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit_direct)
    index.add(rows)
    distance = float(index.search(query, 1)[0][0, 0])
    print(f"{width} dimensions, each 0.9 away: distance {distance:.2f}, true {0.81 * width:.2f}")
    (cut if distance == 0 else whole).append(width)
    assert distance == 0 or abs(distance - 0.81 * width) < 0.01
print("queries are cut at", cut, "and not at", whole)
sys.exit(None if cut and whole else "this has changed")
PY
venv/bin/python look.py
