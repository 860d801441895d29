"""`milvine tune`: how much the indexes of a collection find, and what to set."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import typer

from milvine.errors import MilvineError

_WAIT_SECONDS = 60.0


def tune(
    collection: Annotated[str, typer.Argument(help="Name of the collection.")],
    data: Annotated[
        Path | None, typer.Option(help="Its data folder, which is opened read-only.")
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(
            help="The REST API of a server, such as http://127.0.0.1:19121.", show_default=False
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="For a server that asks for one.", show_default=False)
    ] = None,
    recall: Annotated[float, typer.Option(help="What is wanted, above 0 and up to 1.")] = 0.95,
    k: Annotated[int, typer.Option("--k", help="Of so many nearest rows.")] = 10,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the curves into this file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show how much the indexes of a collection find, as measured when they were built, and which
    search parameters have a recall.
    """
    if (data is None) == (uri is None):
        print("milvine: give either --data or --uri", file=sys.stderr)
        raise typer.Exit(2)
    try:
        if uri is not None:
            found = _asked(uri, token, collection, recall, k)
        else:
            assert data is not None
            found = _read(data, collection, recall, k)
        if svg is not None:
            svg.write_text(_drawn(collection, found), encoding="utf-8")
    except (MilvineError, OSError, ValueError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(json.dumps(found, indent=1) if as_json else "\n".join(_lines(collection, found)))


def _read(data: Path, collection: str, recall: float, k: int) -> dict[str, Any]:
    from milvine.engine.database import Database

    if not data.is_dir():
        raise ValueError(f"There is no folder {data}")
    with Database.open(data.absolute(), read_only=True) as database:
        found = asdict(database.collection(collection).recall(recall, k))
    for segment in found["segments"]:
        for curve in segment["curves"]:
            curve["points"] = [point._asdict() for point in curve["points"]]
    return found


def _asked(uri: str, token: str | None, collection: str, recall: float, k: int) -> dict[str, Any]:
    """Raises OSError: the server cannot be reached, or refuses."""
    if not uri.startswith(("http://", "https://")):
        raise ValueError(f"{uri} is no address of a REST API: it begins with http:// or https://")
    path = f"/collections/{quote(collection, safe='')}/indexes/recall"
    query = urlencode({"recall": recall, "topk": k})
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{uri.rstrip('/')}{path}?{query}", headers=headers)
    try:
        with urlopen(request, timeout=_WAIT_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except HTTPError as error:
        raise OSError(_refusal(error)) from None
    except URLError as error:
        raise OSError(f"Cannot reach {uri}: {error.reason}") from None


def _refusal(error: HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answers {error.code} {error.reason}"


def _lines(collection: str, found: Mapping[str, Any]) -> Iterator[str]:
    key, k, recall = found["parameter"], found["topk"], found["recall"]
    yield f"{collection}: {found['index_type']}"
    if not key:
        yield (
            "Every search of it is exact."
            if found["index_type"] == "FLAT"
            else ("A recall cannot be asked of this index type.")
        )
        return
    for segment in found["segments"]:
        yield ""
        yield from _segment(segment, key, k, recall)
    yield ""
    yield from _advice(found)


def _segment(segment: Mapping[str, Any], key: str, k: int, recall: float) -> Iterator[str]:
    rows = f"segment {segment['segment']}, {segment['live']:,} of {segment['rows']:,} rows"
    if segment["kind"] == "exact":
        yield f"{rows}: no index, searched exactly"
        return
    if not segment["curves"]:
        yield (
            f"{rows}: not measured, since an earlier release built its index. Where a recall is"
            " asked for it is searched exactly"
        )
        return
    chosen = segment["picked"]
    told = _text(chosen) if chosen else "a comparison of all rows"
    yield f"{rows}, {segment['samples']} queries: recall {recall:g} at {k} takes {told}"
    for curve in segment["curves"]:
        yield f"  {key:>13}  recall@{curve['k']:<4}  time a query"
        for point in curve["points"]:
            yield (
                f"  {point['value']:>13,}  {point['recall']:<11.4f}"
                f"  {1e6 * point['seconds']:,.0f} us"
            )


def _advice(found: Mapping[str, Any]) -> Iterator[str]:
    yield f'Search with {{"recall": {found["recall"]:g}}}, and each segment takes what it needs.'
    if found["picked"]:
        yield f"One setting that finds as much in all of them: {_text(found['picked'])}"


def _text(params: Mapping[str, int]) -> str:
    return json.dumps(dict(params))


def _drawn(collection: str, found: Mapping[str, Any]) -> str:
    from milvine.bench.picture import draw

    rows = [
        {
            "what": "curve",
            "kind": found["index_type"],
            "data": f"{collection}, segment {segment['segment']}",
            "contender": f"{curve['k']} nearest",
            "recall": point["recall"],
            "rate": 1 / point["seconds"],
        }
        for segment in found["segments"]
        for curve in segment["curves"]
        for point in curve["points"]
        if point["seconds"]
    ]
    return draw(rows, "recall")
