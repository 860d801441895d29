"""The process that `bench.reopen` starts: open a folder, search once, print the seconds as JSON.

It measures nothing but `Database.open` itself; imports and the search are in the time its parent
takes.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from milvine.engine.database import Database


def main(folder: str, query: str, params: str) -> None:
    vectors = np.load(query)
    began = time.perf_counter()
    with Database.open(folder) as database:
        opened = time.perf_counter() - began
        hits = database.collection(database.collections()[0]).search(
            vectors, 10, json.loads(params)
        )
        print(json.dumps({"open": opened, "hits": int((hits.ids >= 0).sum())}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
