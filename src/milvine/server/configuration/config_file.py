"""The 1.x `server_config.yaml`: read with the line of every value, and edited in place, one value
at a time.

Only what lies between the marks of one value changes; comments, order, quoting and line ends around
it stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from milvine.config import BY_NAME, Given, Origin
from milvine.config.renamed import check_version, unknown
from milvine.errors import IllegalArgument, StorageFailed
from milvine.storage.durable import write_file

_BYTES_MAX = 1 << 20
_NULL = "tag:yaml.org,2002:null"
_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/_.:+-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value as it is written: text, or a list of texts, or None for a section in place of a
    value.
    """

    value: str | list[str] | Mapping[str, str]
    line: int


Sections = dict[str, dict[str, Entry]]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: `top` holds what is no section, such as `version`."""

    sections: Sections
    top: dict[str, Entry]


def read_document(path: Path) -> Document:
    """Raises IllegalArgument: the file is missing, too large, no YAML, or gives a key twice."""
    return parse_document(read_text(path), str(path))


def values_of(file: Path, kind: str) -> tuple[dict[str, Given], list[str]]:
    """What a file says of keys, and sentences about the rest of it. `kind`:
    the kind of their origin.

    Raises:
        IllegalArgument: as `read_document`; or it is for another version of the server.
    """
    document = read_document(file)
    names = {
        f"{s}.{item}": entry
        for s, items in document.sections.items()
        for item, entry in items.items()
    }
    if "version" in document.top:
        version = document.top["version"].value
        check_version(version if isinstance(version, str) else str(version), names)
    found = {
        name: Given(e.value, Origin(kind, f"{file}:{e.line}"))
        for name, e in names.items()
        if name in BY_NAME
    }
    strange = [(name, f"line {entry.line}") for name, entry in names.items() if name not in BY_NAME]
    strange += [(name, f"line {e.line}") for name, e in document.top.items() if name != "version"]
    strange += _empty_sections(document)
    return found, [unknown(strange)] if strange else []


def _empty_sections(document: Document) -> list[tuple[str, str]]:
    sections = {key.section for key in BY_NAME.values()}
    return [
        (name, "a section")
        for name, items in document.sections.items()
        if name not in sections and not items
    ]


def read_text(path: Path) -> str:
    """Raises IllegalArgument: the file is missing, too large, or no text."""
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise IllegalArgument(
            f"Cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(raw) > _BYTES_MAX:
        raise IllegalArgument(
            f"{path} has {len(raw)} bytes: a configuration has no more than {_BYTES_MAX}"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IllegalArgument(f"{path} is no YAML: {error}") from None


def parse_document(text: str, name: str) -> Document:
    """The sections of a configuration; `name` is what errors call it.

    Raises:
        IllegalArgument: it is no YAML of sections, or gives a key twice.
    """
    root, sections, top = _compose(text, name), Sections(), dict[str, Entry]()
    for key, node in _pairs(root, name) if root is not None else ():
        if isinstance(node, MappingNode):
            sections[key] = {item: _entry(child) for item, child in _pairs(node, name)}
        elif _plain(node) != "":  # a section without keys says nothing
            top[key] = _entry(node)
    return Document(sections, top)


def _compose(text: str, name: str) -> MappingNode | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows it
    try:
        root = yaml.compose(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise IllegalArgument(f"{name} is no YAML: {_reason(error)}") from None
    if root is None or _plain(root) == "":
        return None
    if not isinstance(root, MappingNode):
        raise IllegalArgument(f"{name} holds no sections")
    return root


def _reason(error: Exception) -> str:
    """Without the text around the place, in which a password may be."""
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} (line {error.problem_mark.line + 1})"
    return str(error)


def _pairs(node: MappingNode, name: str) -> Iterator[tuple[str, Node]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise IllegalArgument(f"{name} holds a key in line {line} that is no word")
        if key.value in seen:
            raise IllegalArgument(
                f"{name} gives {key.value} twice, in lines {seen[key.value]} and {line}"
            )
        seen[key.value] = line
        yield key.value, value


def _plain(node: Node) -> str | None:
    """The text of a scalar, None for anything else."""
    if not isinstance(node, ScalarNode):
        return None
    return "" if node.tag == _NULL and not node.style else str(node.value)


def _entry(node: Node) -> Entry:
    line, plain = node.start_mark.line + 1, _plain(node)
    if plain is not None:
        return Entry(plain, line)
    if isinstance(node, SequenceNode):
        items = [_plain(item) for item in node.value]
        if None not in items:
            return Entry([item for item in items if item is not None], line)
    return Entry({}, line)  # deeper than two levels: the check of the value says so


# Editing


def set_in_file(path: Path, section: str, item: str, value: str | list[str]) -> None:
    """Write one value, atomically; the first time, the file as it was stays beside it as
    `<file>.ori`.

    Raises:
        IllegalArgument: the file is no configuration any more.
        StorageFailed: it cannot be written, or holds YAML that cannot be edited without changing
            something else.
    """
    path = path.resolve()
    old = read_text(path)
    new = edited(old, section, item, value, str(path))
    if new == old:
        return
    try:
        mode = path.stat().st_mode & 0o777
        original = path.with_name(path.name + ".ori")
        if not original.exists():
            write_file(original, old.encode(), mode)
        write_file(path, new.encode(), mode)
    except OSError as error:
        raise StorageFailed(
            f"Cannot write {path}: {error.strerror or error}. Nothing was changed"
        ) from error


def edited(text: str, section: str, item: str, value: str | list[str], name: str) -> str:
    """`text` with one value replaced or added.

    Raises:
        IllegalArgument: it is no configuration.
        StorageFailed: the edit would change something else (anchors, unusual YAML).
    """
    before = parse_document(text, name)
    start, end, new = _replacement(text, _compose(text, name), section, item, _written(value))
    result = text[:start] + new + text[end:]
    expected = {s: {i: e.value for i, e in items.items()} for s, items in before.sections.items()}
    expected.setdefault(section, {})[item] = value
    try:
        after = parse_document(result, name)
    except IllegalArgument:
        after = Document({}, {})
    values = {s: {i: e.value for i, e in items.items()} for s, items in after.sections.items()}
    if values != expected or {k: e.value for k, e in after.top.items()} != {
        k: e.value for k, e in before.top.items()
    }:
        raise StorageFailed(
            f"{name} is written in a way that Milvine does not edit. Set {section}.{item} by hand"
        )
    return result


def _written(value: str | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_written(each) for each in value)}]"
    plain = (
        _PLAIN.fullmatch(value)
        and not value.endswith(":")
        and value.lower() not in ("null", "true", "false")
    )
    return value if plain or value in ("true", "false") else json.dumps(value, ensure_ascii=False)


def _replacement(text: str, root: Any, section: str, item: str, new: str) -> tuple[int, int, str]:
    """Which part of the text to replace by what."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    found = _child(root, section)
    if found is None:
        gap = "" if not text or text.endswith("\n") else line_end
        return (
            len(text),
            len(text),
            f"{gap}{line_end if text else ''}{section}:{line_end}  {item}: {new}{line_end}",
        )
    head, node = found
    child = _child(node, item)
    if child is not None:
        return _replaced(text, *child, new)
    last = _end(node) if isinstance(node, MappingNode) and node.value else head.end_mark.index
    indent = (
        node.value[0][0].start_mark.column if isinstance(node, MappingNode) and node.value else 2
    )
    at = text.find("\n", last)
    at = len(text) if at < 0 else at + 1
    gap = "" if at == 0 or text[at - 1] == "\n" else line_end
    return at, at, f"{gap}{' ' * indent}{item}: {new}{line_end}"


def _child(node: Any, name: str) -> tuple[ScalarNode, Node] | None:
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _replaced(text: str, key: ScalarNode, value: Node, new: str) -> tuple[int, int, str]:
    colon = text.index(":", key.end_mark.index) + 1
    if _stands_empty(value):
        return colon, colon, f" {new}"
    if isinstance(value, SequenceNode) and not value.flow_style:
        return colon, _end(value), f" {new}"
    return value.start_mark.index, value.end_mark.index, new


def _end(node: Node) -> int:
    """Where the last value of a node ends: the end of a block reaches over the comments
    behind it.
    """
    block = isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style and node.value
    if not block:
        return int(node.end_mark.index)
    last = node.value[-1]
    if not isinstance(node, MappingNode):
        return _end(last)
    return int(last[0].end_mark.index) if _stands_empty(last[1]) else _end(last[1])


def _stands_empty(node: Node) -> bool:
    """Nothing is written there; its marks are somewhere behind, at what comes next."""
    return isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index
