"""`milvine sizing`: memory and disk that a collection will take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from milvine.errors import IllegalArgument, IllegalIndexType, IllegalMetricType, MilvineError

if TYPE_CHECKING:
    from milvine.sizing.estimate import Estimate

_KIB = 1024.0
_WHY = (
    "Milvus 1.x holds a second copy of the vectors in each index file; here HNSW, RNSG and PQ, SQ8"
    " share or leave\nthem, IVF_FLAT and ANNOY excepted. Its tool counts neither ids nor insertion"
    " numbers, and knows no graph or tree."
)


def sizing(
    vectors: Annotated[int, typer.Option("--vectors", "-n", help="Rows.")],
    dimension: Annotated[
        int, typer.Option("--dimension", "-d", help="Of the vectors; bits of binary ones.")
    ],
    index_type: Annotated[str, typer.Option(help="FLAT, IVF_FLAT, HNSW or another.")] = "FLAT",
    metric: Annotated[str, typer.Option(help="L2, IP, or a binary one such as HAMMING.")] = "L2",
    index_file_size: Annotated[int, typer.Option(help="Target size of a segment in MB.")] = 1024,
    nlist: Annotated[int, typer.Option(help="IVF types.")] = 1024,
    m: Annotated[int | None, typer.Option("--m", help="PQ types.", show_default=False)] = None,
    nbits: Annotated[int, typer.Option(help="IVF_PQ.")] = 8,
    links: Annotated[int, typer.Option("--M", help="HNSW types.")] = 16,
    ef_construction: Annotated[
        int, typer.Option("--ef-construction", "--efConstruction", help="HNSW types.")
    ] = 200,
    n_trees: Annotated[int, typer.Option(help="ANNOY.")] = 10,
    out_degree: Annotated[int, typer.Option(help="RNSG.")] = 50,
    knng: Annotated[int, typer.Option(help="RNSG.")] = 50,
    search_length: Annotated[int, typer.Option(help="RNSG.")] = 50,
    candidate_pool_size: Annotated[int, typer.Option(help="RNSG.")] = 300,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="KEY=NUMBER, any other build parameter; may be repeated."),
    ] = None,
    rows_per_insert: Annotated[int, typer.Option(help="Rows that one insert brings.")] = 1000,
    ascending_ids: Annotated[
        bool, typer.Option(help="Whether ids grow with every row, as generated ones do.")
    ] = True,
    search_threads: Annotated[int, typer.Option(help="Searches that run at the same time.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Bytes, as one JSON object.")] = False,
) -> None:
    """Say how much memory and disk a collection takes, and what the sizing tool of Milvus
    1.x said.
    """
    every = {
        "nlist": nlist,
        "m": m,
        "nbits": nbits,
        "M": links,
        "efConstruction": ef_construction,
        "n_trees": n_trees,
        "out_degree": out_degree,
        "knng": knng,
        "search_length": search_length,
        "candidate_pool_size": candidate_pool_size,
    }
    try:
        every |= dict(map(_pair, param or ()))
        found = _estimate(
            index_type,
            metric,
            {key: value for key, value in every.items() if value is not None},
            vectors=vectors,
            dimension=dimension,
            index_file_size_mb=index_file_size,
            rows_per_insert=rows_per_insert,
            ascending_ids=ascending_ids,
            search_threads=search_threads,
        )
    except MilvineError as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(json.dumps(_as_dict(found), indent=2) if as_json else "\n".join(_lines(found)))


def _estimate(index_type: str, metric: str, params: dict[str, Any], **load: Any) -> Estimate:
    """Raises IllegalArgument and its like: a name or number that no collection has."""
    from milvine.index.registry import by_name, every
    from milvine.sizing.estimate import estimate
    from milvine.sizing.shape import Load
    from milvine.types import MetricType

    kind = by_name(index_type.upper())
    if kind is None:
        names = ", ".join(dict.fromkeys(each.name for each in every()))
        raise IllegalIndexType(f"Invalid index type: {index_type}. Expected one of {names}")
    if metric.upper() not in MetricType.__members__ or not MetricType[metric.upper()]:
        names = ", ".join(each.name for each in MetricType if each)
        raise IllegalMetricType(f"Invalid metric: {metric}. Expected one of {names}")
    keys = {each.key for each in kind.build}
    mine = {key: value for key, value in params.items() if key in keys}
    return estimate(
        Load(metric=MetricType[metric.upper()], index_type=kind.type, params=mine, **load)
    )


def _pair(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    try:
        return key, int(value)
    except ValueError:
        raise IllegalArgument(f"Invalid --param: {text}. Expected KEY=NUMBER") from None


def _as_dict(found: Estimate) -> dict[str, Any]:
    """Every figure in bytes; the sums that are properties beside their parts."""
    out = asdict(found)
    out["load"] |= {"metric": found.load.metric.name, "index_type": found.load.index_type.name}
    out["memory"] |= {"searched": found.memory.searched, "loaded": found.memory.loaded}
    out["disk"] |= {"stable": found.disk.stable, "peak": found.disk.peak}
    return out


def _lines(found: Estimate) -> Iterator[str]:
    from milvine.sizing.estimate import PROCESS_BYTES

    load, memory, disk = found.load, found.memory, found.disk
    params = "".join(f" {key}={value}" for key, value in load.params.items())
    yield (
        f"{load.vectors:,} vectors of {load.dimension} dimensions, {load.metric.name},"
        f" {load.index_type.name}{params}"
    )
    yield (
        f"{found.segments:,} segments of up to {load.index_file_size_mb} MB,"
        f" {found.indexed_segments:,} with an index"
    )
    yield ""
    yield "memory, beside the process itself"
    yield _line("searched, at full speed", memory.searched, "keep this much free")
    yield _line(
        "  page cache",
        memory.mapped_searched,
        "pages of files; given up under pressure, read again",
    )
    yield _line("  allocated by open indexes", memory.indexes)
    yield _line("  allocated by searches", memory.searching)
    yield _line(
        "all loaded (load_collection)",
        memory.loaded,
        "vectors and ids that only hits need included",
    )
    yield _line("unflushed rows", memory.unflushed, "while inserting")
    yield _line("the process itself", PROCESS_BYTES, "about")
    yield ""
    yield "disk"
    yield _line("stable", disk.stable, f"rows {_size(disk.rows)}, indexes {_size(disk.indexes)}")
    yield _line("merge, build, compact", disk.transient, "for their time on top")
    yield _line("log", disk.log, "while inserting on top")
    yield _line("peak", disk.peak)
    if found.indexed_segments:
        yield ""
        yield "building the index of the largest segment"
        yield _line("allocated by the builder", found.build_anonymous, "a process of its own")
        yield _line("rows it reads", found.build_mapped, "page cache")
    yield ""
    yield "the sizing tool of Milvus 1.x"
    if found.official is None:
        yield f"  had no formula for {load.index_type.name}"
    else:
        yield _line("memory", found.official.memory)
        yield _line("disk", found.official.disk)
    yield _WHY


def _line(what: str, size: int, remark: str = "") -> str:
    return f"  {what:<30}{_size(size):>11}  {remark}".rstrip()


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIB:
            return f"{size:.4g} {unit}"
        size /= _KIB
    return f"{size:.4g} TiB"
