"""What endpoints answer, for the OpenAPI document. Answers are not made of these: they are written
as they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Reply(BaseModel):
    """Base of all."""


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Status(_Reply):
    """`code` 0 is success; 1 to 24 are those of gRPC, 31 to 37 tell what is wrong with the request
    itself.
    """

    model_config = _example({"message": "OK", "code": 0})
    message: str
    code: int


class Memory(_Reply):
    memory: int = Field(description="GiB")


class Devices(_Reply):
    model_config = _example({"cpu": {"memory": 16}, "gpus": {}})
    cpu: Memory
    gpus: dict[str, Memory]


class Advanced(_Reply):
    model_config = _example(
        {"cpu_cache_capacity": 4, "cache_insert_data": False, "use_blas_threshold": 1100}
    )
    cpu_cache_capacity: int
    cache_insert_data: bool
    use_blas_threshold: int


class CollectionInfo(_Reply):
    model_config = _example(
        {
            "collection_name": "films",
            "dimension": 128,
            "index_file_size": 1024,
            "metric_type": "L2",
            "count": 100000,
            "index": "IVFFLAT",
            "index_params": '{"nlist":4096}',
        }
    )
    collection_name: str
    dimension: int
    index_file_size: int
    metric_type: str
    count: int
    index: str
    index_params: str = Field(description="A string that holds JSON.")


class Collections(_Reply):
    collections: list[CollectionInfo]
    count: int


class SegmentStats(_Reply):
    data_size: int
    index_name: str
    name: str
    row_count: int


class PartitionStats(_Reply):
    tag: str
    row_count: int
    segments: list[SegmentStats] | None


class CollectionStats(_Reply):
    partitions: list[PartitionStats]
    row_count: int
    nonfinite_rows: int | None = Field(
        None, description="Live rows that no search finds; left out where there are none."
    )


class Index(_Reply):
    model_config = _example({"index_type": "IVFFLAT", "params": {"nlist": 4096}})
    index_type: str
    params: Any
    index_number: int | None = Field(
        None, description="Only of a type that another distribution adds: its number on the wire."
    )


class Partition(_Reply):
    partition_tag: str


class Partitions(_Reply):
    model_config = _example(
        {"partitions": [{"partition_tag": "_default"}, {"partition_tag": "summer"}], "count": 2}
    )
    partitions: list[Partition]
    count: int


class Segment(SegmentStats):
    partition_tag: str


class Segments(Status):
    count: int
    segments: list[Segment]


class Ids(_Reply):
    model_config = _example({"ids": ["1", "2"]})
    ids: list[str]


class SegmentIds(_Reply):
    model_config = _example({"ids": ["1", "2"], "count": 2})
    ids: list[str]
    count: int


class Row(_Reply):
    id: str
    vector: list[float] = Field(description="Empty for an id that is not stored.")


class Rows(Status):
    model_config = _example(
        {"code": 0, "message": "OK", "vectors": [{"id": "1", "vector": [0.1, 0.2, 0.3, 0.4]}]}
    )
    vectors: list[Row]


class SegmentRows(Rows):
    model_config = ConfigDict()
    count: int


class Hit(_Reply):
    id: str
    distance: str


class Hits(_Reply):
    model_config = _example({"num": 1, "result": [[{"id": "1", "distance": "0.123456"}]]})
    num: int
    result: list[list[Hit]]


class SystemReply(Status):
    model_config = _example({"code": 0, "message": "OK", "reply": "1.1.1"})
    reply: str


class ConfigSet(Status):
    model_config = _example(
        {
            "code": 0,
            "message": "set_config cache.cache_size 8GB successfully;",
            "restart_required": False,
        }
    )
    restart_required: bool
