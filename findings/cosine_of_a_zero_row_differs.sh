#!/usr/bin/env bash
# A row of zeros under cosine: three libraries, three answers, and none of them an error.
#
# The cosine of a zero vector is not defined. lancedb leaves such a row out of every answer, and
# answers a query of zeros with no hits at all. sqlite-vec gives the row with a distance of NULL,
# and a query of zeros brings all rows with NULL, in the order of their ids, as many as were asked
# for. usearch takes the distance for 1 as of any perpendicular row, and for 0 between two of zeros.
# So the number of hits, their order and whether a zero row finds itself all change with the
# library, for input that each of them takes.
#
# It matters to us because failed embeddings are zeros, and people compare us with these or come
# from them. An answer that is defined, and documented, is worth more than any of the three.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6 \
    deprecation==2.1.0 lance-namespace==0.13.0 lance-namespace-urllib3-client==0.13.0 \
    overrides==7.7.0 packaging==26.4 pydantic==2.14.4 pydantic_core==2.50.5 \
    annotated-types==0.8.0 typing_extensions==4.16.0 typing-inspection==0.4.5 urllib3==2.8.0 \
    python-dateutil==4.0.0 tqdm==4.70.1 \
    sqlite-vec==0.1.9 apsw==3.54.1.0 usearch==2.26.6 numkong==7.8.6
cat > look.py <<'PY'
import sys
from importlib.metadata import version

import apsw
import lancedb
import numpy as np
import sqlite_vec
from usearch.index import Index

print(*(f"{name} {version(name)}" for name in ("lancedb", "sqlite-vec", "usearch")))
ROWS = np.array([[1, 0], [0, 1], [0, 0], [1, 1]], dtype=np.float32)  # zeros: id 2
table = lancedb.connect("lance").create_table(
    "rows", [{"id": i, "vector": row} for i, row in enumerate(ROWS)]
)
sqlite = apsw.Connection(":memory:")
sqlite.enable_load_extension(True)
sqlite.load_extension(sqlite_vec.loadable_path())
sqlite.execute("CREATE VIRTUAL TABLE t USING vec0(v float[2] distance_metric=cosine)")
for i, row in enumerate(ROWS):
    sqlite.execute("INSERT INTO t(rowid, v) VALUES (?, ?)", (i, row.tobytes()))
index = Index(ndim=2, metric="cos", dtype="f32")
index.add(np.arange(len(ROWS)), ROWS)


def answers(query):
    found = table.search(query).distance_type("cosine").limit(9).to_list()
    yield "lancedb", [(row["id"], row["_distance"]) for row in found]
    ask = "SELECT rowid, distance FROM t WHERE v MATCH ? AND k = 9"
    yield "sqlite-vec", list(sqlite.execute(ask, (query.tobytes(),)))
    hits = index.search(query, 9)
    yield "usearch", list(zip(hits.keys.tolist(), hits.distances.tolist(), strict=True))


row, zeros = dict(answers(ROWS[0])), dict(answers(ROWS[2]))
print("query [1 0]:", row, "query [0 0]:", zeros, sep="\n")
as_described = (
    (2 not in dict(row["lancedb"]) and zeros["lancedb"] == [])
    and dict(row["sqlite-vec"])[2] is None
    and zeros["sqlite-vec"] == [(i, None) for i in range(4)]
    and (dict(row["usearch"])[2], dict(zeros["usearch"])[2]) == (1, 0)
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
