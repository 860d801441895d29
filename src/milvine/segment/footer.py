"""What a footer must say before anybody relies on it: a checksum proves who wrote it no more than
that it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from milvine.errors import CorruptFile

_Footer = dict[str, Any]


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _span(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value))


def _range(value: object) -> bool:
    return isinstance(value, list) and [type(each) for each in value] == [int, int]


def _numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _sections(value: object) -> bool:
    return isinstance(value, dict) and all(map(_span, value.values()))


def _named(value: object) -> bool:
    return isinstance(value, dict) and _number(value.get("id"))


_ENTRY: Mapping[str, Callable[[object], bool]] = {
    "id": _number,
    "rows": _number,
    "sections": _sections,
    "collection": _named,
    "partition": _named,
    "lsn_range": _range,
    "id_range": _range,
    "replaces": _numbers,
    "dead": _number,
    "lsn": _number,
    "nonfinite": _number,
}
_ALWAYS = frozenset({"id", "sections"})
_OF_KIND = {
    "rows": frozenset({"rows", "collection", "partition", "lsn_range", "id_range"}),
    "tombstones": frozenset({"rows", "collection", "dead", "lsn"}),
}
_SECTIONS_OF_KIND = {
    "rows": frozenset({"vectors", "ids", "lsn_starts", "lsns"}),
    "tombstones": frozenset({"live"}),
    "index": frozenset({"index"}),
}
_ROW_BYTES = {"ids": 8, "order": 4}


def parse_footer(name: str, text: bytes, at: int) -> _Footer:
    """The footer that begins at byte `at` of a file, its checksum checked before.

    Raises:
        CorruptFile: it is no footer.
    """
    try:
        footer = json.loads(text)
    except (ValueError, RecursionError):
        raise CorruptFile.at(name, at, "the footer is no JSON") from None
    if (
        not isinstance(footer, dict)
        or not _numbers(footer.get("crcs"))
        or not isinstance(footer.get("segments"), list)
    ):
        raise CorruptFile.at(name, at, "the footer lists no checksums or no segments")
    kind = str(footer.get("kind"))
    needed = _ALWAYS | _OF_KIND.get(kind, frozenset())
    for entry in footer["segments"]:
        if not isinstance(entry, dict) or not needed <= entry.keys():
            raise CorruptFile.at(name, at, "the footer describes a segment in part only")
        for key, right in _ENTRY.items():
            if key in entry and not right(entry[key]):
                raise CorruptFile.at(
                    name, at, f"the footer says of a segment that its {key} is {entry[key]!r:.100}"
                )
        if not _SECTIONS_OF_KIND.get(kind, frozenset()) <= entry["sections"].keys():
            raise CorruptFile.at(
                name, at, "the footer describes a segment without all its sections"
            )
    return footer


def check_spans(name: str, footer: _Footer, body_end: int, block: int) -> None:
    """Every section lies within the body, has the size that its rows take, and every block has a
    checksum.

    Raises:
        CorruptFile: the footer says otherwise.
    """
    if len(footer["crcs"]) != -(-body_end // block):
        raise CorruptFile.at(
            name, body_end, f"the footer has {len(footer['crcs'])} checksums for {body_end} bytes"
        )
    for entry in footer["segments"]:
        for section, (start, size) in entry["sections"].items():
            if start + size > body_end:
                raise CorruptFile.at(
                    name, body_end, f"the footer puts {section} of a segment behind the end"
                )
            if not _fits(entry, section, size):
                raise CorruptFile.at(
                    name, body_end, f"the footer gives {section} of a segment {size} bytes"
                )


def _fits(entry: _Footer, section: str, size: int) -> bool:
    rows = entry.get("rows")
    if section in _ROW_BYTES:
        return rows is not None and size == int(rows) * _ROW_BYTES[section]
    if section == "vectors":
        return size % int(rows) == 0 if rows else not size
    if section == "live":
        return rows is not None and size == -(-int(rows) // 8)
    if section == "lsns":
        return size == 2 * int(entry["sections"].get("lsn_starts", (0, 0))[1])
    return section != "lsn_starts" or size % 4 == 0
