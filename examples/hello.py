"""The Milvus Hello World page, call by call: each as it stands on the page, and what it returned.

    python examples/hello.py                          on an embedded database in a temporary folder
    python examples/hello.py --uri tcp://host:port    on a server, where it makes `test01` anew

The page tells several stories with one collection: it drops `test01` and goes on with it, gives ids
where they were generated before, drops `tag01` and inserts into it. Where it turns to a new story,
the lines that set the stage are shown behind `...`, and so is the address that is really used. Ends
with 1 if a call does not return what the page promises.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 108  # characters of a returned value that are shown


@dataclass(frozen=True)
class Step:
    """A line of the page. `promise` says whether what it returned is right; `setting` runs before
    it.
    """

    code: str
    promise: Callable[[Any], bool] = lambda returned: True
    setting: tuple[str, ...] = ()


def ok(returned: Any) -> bool:
    """A Status of success, alone or first of a pair."""
    return bool((returned[0] if isinstance(returned, tuple) else returned).OK())


def stores_20(returned: Any) -> bool:
    return ok(returned) and len(returned[1]) == 20


def found(queries: int, hits: int, ids: range) -> Callable[[Any], bool]:
    """So many queries with so many hits each, all of them among `ids`."""

    def promise(returned: Any) -> bool:
        rows = returned[1].id_array if ok(returned) else []
        return len(rows) == queries and all(
            len(row) == hits and set(row) <= set(ids) for row in rows
        )

    return promise


EMPTY = {"partitions": [{"row_count": 0, "segments": None, "tag": "_default"}], "row_count": 0}
ID_LIST = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]"
SEARCH = "milvus.search(collection_name='test01', query_records=q_records, "
Q_RECORDS = "q_records = [[random.random() for _ in range(256)] for _ in range(5)]"
NEW = ("milvus.drop_collection('test01')", "milvus.create_collection(param)")
NEW_WITH_TAG = (*NEW, "milvus.create_partition('test01', 'tag01')")
NEW_WITH_IDS = (
    *NEW_WITH_TAG,
    "milvus.insert('test01', vectors, ids=vector_ids)",
    "milvus.insert('test01', vectors, ids=list(range(20, 40)), partition_tag='tag01')",
)

STEPS = [
    Step("from milvus import Milvus, IndexType, MetricType, Status"),
    Step("milvus = Milvus(host='localhost', port='19530')"),
    Step("milvus = Milvus(uri='tcp://localhost:19530')"),
    Step(
        "param = {'collection_name':'test01', 'dimension':256, 'index_file_size':1024,"
        " 'metric_type':MetricType.L2}"
    ),
    Step("milvus.create_collection(param)", ok),
    Step(
        "milvus.get_collection_stats('test01')",
        lambda returned: ok(returned) and returned[1] == EMPTY,
    ),
    Step("milvus.drop_collection(collection_name='test01')", ok),
    Step("milvus.create_partition(collection_name='test01', partition_tag='tag01')", ok, NEW[1:]),
    Step(
        "milvus.list_partitions(collection_name='test01')",
        lambda returned: (
            ok(returned) and [partition.tag for partition in returned[1]] == ["_default", "tag01"]
        ),
    ),
    Step("milvus.drop_partition(collection_name='test01', partition_tag='tag01')", ok),
    Step("ivf_param = {'nlist': 16384}"),
    Step("milvus.create_index('test01', IndexType.IVF_FLAT, ivf_param)", ok),
    Step("milvus.drop_index('test01')", ok),
    Step("import random"),
    Step("vectors = [[random.random() for _ in range(256)] for _ in range(20)]"),
    Step("milvus.insert(collection_name='test01', records=vectors)", stores_20),
    Step("vector_ids = [id for id in range(20)]"),
    Step(
        "milvus.insert(collection_name='test01', records=vectors, ids=vector_ids)",
        lambda returned: ok(returned) and returned[1] == list(range(20)),
        NEW,
    ),
    Step("""milvus.insert('test01', vectors, partition_tag="tag01")""", stores_20, NEW_WITH_TAG),
    Step(
        f"status, vector = milvus.get_entity_by_id(collection_name='test01', ids={ID_LIST})",
        lambda returned: stores_20(returned) and all(len(vector) == 256 for vector in returned[1]),
        NEW_WITH_IDS,
    ),
    Step(f"ids = {ID_LIST}"),
    Step("milvus.delete_entity_by_id(collection_name='test01', id_array=ids)", ok),
    Step("milvus.flush(collection_name_array=['test01'])", ok),
    Step("milvus.compact(collection_name='test01', timeout='1')", ok),
    Step("search_param = {'nprobe': 16}"),
    Step(Q_RECORDS),
    Step(f"{SEARCH}top_k=2, params=search_param)", found(5, 2, range(20, 40))),
    Step(Q_RECORDS),
    Step(
        f"{SEARCH}top_k=1, partition_tags=['tag01'], params=search_param)",
        found(5, 1, range(20, 40)),
    ),
    Step("milvus.close()", lambda returned: returned is None),
]


def shown(returned: Any) -> str:
    text = " ".join(repr(returned).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ..."


class Session:
    """Runs lines as a person would at the prompt. `uri` takes the place of the page's addresses."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._names: dict[str, Any] = {}

    def here(self, code: str) -> str:
        """The line with the address that is really used."""
        return (
            f"milvus = Milvus(uri={self._uri!r})" if code.startswith("milvus = Milvus(") else code
        )

    def run(self, code: str) -> Any:
        """What the line returned; for `status, vector = ...` the pair, for other
        statements None.
        """
        try:
            return eval(code, self._names)
        except SyntaxError:
            exec(code, self._names)
        return (
            (self._names["status"], self._names["vector"])
            if code.startswith("status, vector")
            else None
        )


def play(uri: str) -> list[str]:
    """Runs and prints every step. Returns the lines that did not do what the page promises."""
    session, broken = Session(uri), []
    session.run("from milvus import Milvus")
    session.run(f"Milvus(uri={uri!r}).drop_collection('test01')")
    for step in STEPS:
        for line in step.setting:
            print(f"...     {line}")
            session.run(line)
        print(f">>> {step.code}")
        code = session.here(step.code)
        if code != step.code:
            print(f"...     here: {code}")
        returned = session.run(code)
        if returned is not None:
            print(shown(returned))
        if not step.promise(returned):
            print("    ^ not what the page promises")
            broken.append(step.code)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description="The Milvus Hello World page, call by call")
    parser.add_argument(
        "--uri", help="tcp://host:port of a server, or file:///folder; default: a temporary folder"
    )
    uri = parser.parse_args().uri
    try:
        with tempfile.TemporaryDirectory(prefix="milvine-hello-") as folder:
            return 1 if play(uri or (Path(folder) / "data").as_uri()) else 0
    except ValueError as error:  # an address that is none, or where nobody listens
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    sys.exit(main())
