"""The table of rpcs by client in docs/compatibility.md says what the scripts of those
clients call.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from milvine.client import replies
from milvine.wire.schema import RPCS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
COLUMNS = ("pymilvus 1.1.2", "pymilvus 0.2.14", "Node", "Ruby", "Milvine's own")
METHODS = {
    "create_collection": replies.CREATE_COLLECTION,
    "has_collection": replies.HAS_COLLECTION,
    "get_collection_info": replies.DESCRIBE_COLLECTION,
    "count_entities": replies.COUNT_COLLECTION,
    "list_collections": replies.SHOW_COLLECTIONS,
    "get_collection_stats": replies.SHOW_COLLECTION_INFO,
    "drop_collection": replies.DROP_COLLECTION,
    "create_index": replies.CREATE_INDEX,
    "get_index_info": replies.DESCRIBE_INDEX,
    "drop_index": replies.DROP_INDEX,
    "create_partition": replies.CREATE_PARTITION,
    "has_partition": replies.HAS_PARTITION,
    "list_partitions": replies.show_partitions("any"),
    "drop_partition": replies.DROP_PARTITION,
    "insert": replies.INSERT,
    "get_entity_by_id": replies.GET_ENTITIES,
    "delete_entity_by_id": replies.DELETE,
    "list_id_in_segment": replies.GET_IDS,
    "search": replies.SEARCH,
    "search_in_segment": replies.SEARCH_IN_FILES,
    "load_collection": replies.PRELOAD,
    "release_collection": replies.RELEASE,
    "reload_segments": replies.RELOAD_SEGMENTS,
    "flush": replies.FLUSH,
    "compact": replies.COMPACT,
    "get_config": replies.CMD,
}
NODE = {"DeleteByIds": "DeleteByID", "ShowCollectionsInfo": "ShowCollectionInfo"}
"""Methods of the Node client that are named otherwise than the rpc."""


def driven() -> set[str]:
    """Rpcs that the drives make pymilvus and Milvine's client call."""
    text = "".join(
        (HERE / name).read_text(encoding="utf-8") for name in ("drive.py", "drive_segments.py")
    )
    return {METHODS[name].method for name in re.findall(r"\bm\.(\w+)", text) if name in METHODS}


def called() -> dict[str, set[str]]:
    node = (HERE.parent / "sdk" / "node" / "life.js").read_text(encoding="utf-8")
    names = {name[0].upper() + name[1:] for name in re.findall(r"\bmilvus\.(\w+)\(", node)}
    # What its search does then.
    names |= {"SearchByID" for _ in re.findall(r"\bmilvus\.search\([^)]*\bid_array", node)}
    ruby = json.loads((HERE.parent / "sdk" / "ruby" / "outcome.json").read_text(encoding="utf-8"))
    return {
        "pymilvus 1.1.2": driven(),
        "pymilvus 0.2.14": driven() - {"ReleaseCollection"},
        "Node": {NODE.get(name, name) for name in names} & set(RPCS),
        "Ruby": {answer[0] for answer in ruby.values()} & set(RPCS),
        "Milvine's own": driven(),
    }


def test_the_table() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| rpc | " + " | ".join(COLUMNS) + " |")
    table = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rpc, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        table[rpc] = {column for column, cell in zip(COLUMNS, cells, strict=True) if cell}
    assert list(table) == list(RPCS)
    for column, rpcs in called().items():
        assert {rpc for rpc, columns in table.items() if column in columns} == rpcs, column
