#!/usr/bin/env bash
# milvus-lite: `insert` of an id that is there replaces the row, and still says that one was
# inserted.
#
# Milvus keeps both rows when an id is inserted twice; `upsert` is what replaces, which is why both
# exist. milvus-lite 3.2, which is meant to be developed against before one moves to a server, does
# as `upsert` does: the count stays, the first vector is gone, within a single call as well, where
# `insert_count` and the list of ids still name both. It also stores a row with a NaN; it is the
# last hit, with a distance of NaN.
#
# It matters to us because people try their program on milvus-lite first: what passes there may keep
# two rows here, where an id may stand twice as in Milvus 1.x.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    milvus-lite==3.2.2 pymilvus==3.0.2 numpy==2.4.6 \
    pyarrow==26.0.1 faiss-cpu==1.15.1 packaging==26.4 pandas==3.1.1 python-dateutil==4.0.0 \
    grpcio==1.85.3 typing_extensions==4.16.0 protobuf==7.36.2 orjson==3.13.0 cachetools==8.0.2 \
    python-dotenv==1.2.4 requests==2.34.2 certifi==2026.10.19.post1 idna==3.20 urllib3==2.8.0 \
    charset-normalizer==3.5.3
cat > look.py <<'PY'
import math
import sys
from importlib.metadata import version

from pymilvus import MilvusClient

print(*(f"{name} {version(name)}" for name in ("milvus-lite", "pymilvus")))
client = MilvusClient("lite.db")
client.create_collection("rows", dimension=2, metric_type="L2")


def insert(*rows):
    answer = client.insert("rows", [{"id": i, "vector": vector} for i, vector in rows])
    print("inserted", rows, "answer", answer)
    return answer["insert_count"]


counts = [
    insert((1, [1.0, 0.0])),
    insert((1, [5.0, 0.0])),
    insert((2, [2.0, 0.0]), (2, [7.0, 0.0])),
    insert((3, [math.nan, 0.0])),
]
found = client.search("rows", [[0.0, 0.0]], limit=9)[0]
hits = [(hit["id"], hit["distance"]) for hit in found]
print("hits of [0 0]:", hits)
client.close()
as_described = (
    counts == [1, 1, 2, 1]
    and [i for i, _ in hits] == [1, 2, 3]
    and [round(distance) for _, distance in hits[:2]] == [25, 49]
    and math.isnan(hits[2][1])
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
