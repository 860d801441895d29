"""The public surface of our `milvus` package beside that of pymilvus 1.1.2: everything it has is
here, alike.

Of 0.2.14 every method and argument is here but for the hybrid ones, which no server of 1.x takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real_clients.environments import Unavailable, python_with
from tests.real_clients.serving import ROOT

pytestmark = pytest.mark.real_client

HYBRID_OR_INTERNAL = {
    "Milvus.create_hybrid_collection",
    "Milvus.insert_hybrid",
    "Milvus.get_hybrid_entity_by_id",
    "Milvus.search_hybrid",
    "Milvus.search_hybrid_pb",
    "Prepare.collection_hybrid_schema",
    "Prepare.insert_hybrid_param",
    "Prepare.search_hybrid_param",
    "Prepare.search_hybrid_pb_param",
    "Prepare.search_by_ids_param",
}
NEVER_RETURNED = "a class that no call of 1.1.2 itself returns or takes"
INNARDS = "how 1.1.2 makes its own result; ours holds arrays"
READS_REPLIES = "how 1.1.2's futures read their replies; not for callers"
DIFFERENT = {
    "Prepare.delete_by_id_param": "the tag may be left out, as in 0.2.14",
    "milvus.client.abstract.LoopBase": NEVER_RETURNED,
    "milvus.client.abstract.SegmentStat": NEVER_RETURNED,
    "milvus.client.abstract.PartitionStat": NEVER_RETURNED,
    "milvus.client.abstract.CollectionInfo": NEVER_RETURNED,
    "milvus.client.abstract.ConnectIntf": NEVER_RETURNED,
    "milvus.client.abstract.QueryResult()": "1.1.2 names its arguments _id and _distance",
    "milvus.client.abstract.RowQueryResult()": INNARDS,
    "milvus.client.abstract.IndexParam()": "params may be left out",
    "milvus.client.asynch.Future.": READS_REPLIES,
    "milvus.client.asynch.SearchFuture.": READS_REPLIES,
    "milvus.client.asynch.InsertFuture.": READS_REPLIES,
    "milvus.client.asynch.CreateIndexFuture.": READS_REPLIES,
    "milvus.client.asynch.CompactFuture.": READS_REPLIES,
    "milvus.client.asynch.FlushFuture.": READS_REPLIES,
}
MORE = {
    "milvus.AsyncMilvus": "for asyncio programs",
    "milvus.DataType": "of 0.2.14",
    "milvus.RangeType": "of 0.2.14",
    "IndexType.SPTAG_KDT": "a number of the wire that no server takes",
    "IndexType.SPTAG_BKT": "a number of the wire that no server takes",
    "IndexType.IVF_PQFS": "an addition of the server",
    "IndexType.IVF_RABITQ": "an addition of the server",
    "IndexType.HNSW_SQ8": "an addition of the server",
}


def surface(python: str | Path, **more: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    command = [str(python), str(Path(__file__).with_name("surface.py"))]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def surface_of(client: str) -> Any:
    try:
        return surface(python_with(client))
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def theirs() -> Any:
    return surface_of("pymilvus==1.1.2")


@pytest.fixture(scope="module")
def ours() -> Any:
    return surface(sys.executable, PYTHONPATH=str(ROOT / "src"))


def differs(path: str, their: Any, our: Any) -> bool:
    if path.endswith("."):
        return not set(their) <= set(our or ())
    return bool(their != our)


def test_everything_they_have_is_here(theirs: Any, ours: Any) -> None:
    assert len(theirs) > 150
    different = {
        path: (their, ours.get(path))
        for path, their in theirs.items()
        if differs(path, their, ours.get(path))
    }
    assert {path: pair for path, pair in different.items() if path not in DIFFERENT} == {}
    assert set(DIFFERENT) - set(different) == set(), "allowed, but no longer different"


def test_what_is_here_besides_is_known(theirs: Any, ours: Any) -> None:
    besides = {
        path for path in ours if path not in theirs and not path.startswith("milvus.client.")
    }
    assert besides == set(MORE)


def test_arguments_of_0_2_are_taken(ours: Any) -> None:
    old = surface_of("pymilvus==0.2.14")
    calls = {path: given for path, given in old.items() if path.startswith(("Milvus.", "Prepare."))}
    assert len(calls) > 50
    assert {
        path for path, given in calls.items() if not set(given) <= set(ours.get(path, ()))
    } == HYBRID_OR_INTERNAL
