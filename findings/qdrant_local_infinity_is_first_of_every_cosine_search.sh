#!/usr/bin/env bash
# qdrant-client in local mode: a row with an infinity is the first hit of every search by cosine,
# its score a NaN.
#
# A NaN is refused ("Vector contains NaN values"), an infinity is not. Under cosine a row is divided
# by its length before it is stored, infinity over infinity is a NaN, and so the value that was
# refused at the door lies in the store. The hits are sorted in ascending order, where numpy puts
# NaN last, and then turned round. With `limit=1` no search finds anything else any more. Under
# Euclid the same row is the last hit, as one would expect.
#
# It matters to us because we divide rows as well: what is checked must be what is stored, after the
# arithmetic, and the order of hits must not rest on where a sort puts a NaN.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    qdrant-client==1.20.0 numpy==2.4.6 grpcio==1.85.3 \
    protobuf==7.36.2 httpx==0.28.1 httpcore==1.0.9 h2==4.4.1 h11==0.16.0 hpack==4.2.0 \
    hyperframe==6.1.0 anyio==4.16.0 certifi==2026.10.19.post1 idna==3.20 portalocker==4.4.2 \
    pydantic==2.14.4 pydantic_core==2.50.5 annotated-types==0.8.0 typing_extensions==4.16.0 \
    typing-inspection==0.4.5 urllib3==2.8.0
cat > look.py <<'PY'
import sys
import warnings
from importlib.metadata import version

from qdrant_client import QdrantClient, models

warnings.simplefilter("ignore")  # numpy's, about the division
print("qdrant-client", version("qdrant-client"))
ROWS = {1: [1.0, 0.0], 2: [0.0, 1.0], 3: [0.6, 0.8], 4: [float("inf"), 0.0]}
client = QdrantClient(":memory:")
refused, hits = [], {}
for distance in (models.Distance.EUCLID, models.Distance.COSINE):
    name = distance.value
    client.create_collection(name, models.VectorParams(size=2, distance=distance))
    client.upsert(name, [models.PointStruct(id=i, vector=row) for i, row in ROWS.items()])
    try:
        client.upsert(name, [models.PointStruct(id=5, vector=[float("nan"), 0.0])])
    except ValueError as error:
        refused.append(str(error))
    for query in list(ROWS.values())[:3]:
        found = client.query_points(name, query=query, limit=4).points
        hits.setdefault(name, []).append([point.id for point in found])
        print(name, "query", query, "hits", [(point.id, point.score) for point in found])
print("a NaN:", refused)
as_described = (
    len(refused) == 2
    and all(ids[-1] == 4 for ids in hits["Euclid"])
    and all(ids[0] == 4 for ids in hits["Cosine"])
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
