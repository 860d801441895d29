"""Configuration files, values of keys and edits in place."""

from __future__ import annotations

from pathlib import Path
from random import Random

from milvine.config import ALL, default_text
from milvine.errors import IllegalArgument, StorageFailed
from milvine.server.configuration.config_file import edited, parse_document
from milvine.testing.fuzz.mutate import NAMES, integer, mutated, text
from milvine.testing.fuzz.target import Wrong

_VALUES = (
    "true", "yes", "0x10", "1e3", "1_000", "12:30:45", "٣", "4GB", "4 GB", "999999999999GB", "-1",
    "1.5", "nan", "inf",
    "[a, b]", "[[[1]]]", "{a: 1}", "|\n  text", "*a", "&a 1",
    "!!python/object/apply:os.system ['x']", "'it''s'", "",
    "~", "null", '"\\u0000"',
    "2026-11-23", "0o17", "127.0.0.1", "::1", "http://x", "a" * 5000, "9" * 5000, "[" * 3000,
    "{a: " * 3000, "\t", "#",
)  # fmt: skip
_BOMBS = (
    "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"
    + "".join(f"d{n}: &d{n} [*c,*c]\n" for n in range(200)),
    "a: &a {" + "k: *a, " * 100 + "}",
    "a: &a [*a]\n",
    "? [a, b]\n: c\n",
    "cache:\n" + "".join(f"  {' ' * n}a{n}:\n" for n in range(2000)),
    "cache: {<<: {cache_size: 4GB}}\n",
    "---\na: 1\n---\nb: 2\n",
    "%YAML 9.9\n---\na: 1\n",
    "\ufeffcache:\n  cache_size: 4GB\n",
    "cache:\r\n  cache_size: 4GB\r",
)


class ConfigTarget:
    """One case is a file, or an edit of one."""

    def __init__(self, folder: Path) -> None:
        lines = ["version: 0.5"]
        for section in dict.fromkeys(key.section for key in ALL):
            lines.append(f"{section}:")
            lines += [f"  {key.item}: {default_text(key)}" for key in ALL if key.section == section]
        self._file = "\n".join(lines) + "\n"

    def run(self, random: Random) -> str:
        kind = random.randrange(4)
        if kind == 0:
            return self._value(random)
        said = self._text(random)
        try:
            document = parse_document(said, "file")
        except IllegalArgument:
            return "refused"
        if kind == 1:
            return self._edit(random, said)
        for items in document.sections.values():
            for entry in items.values():
                if entry.line < 1:
                    raise Wrong(f"a value in line {entry.line}")
        return "read"

    def _text(self, random: Random) -> str:
        pick = random.random()
        if pick < 0.1:
            return random.choice(_BOMBS)
        lines = self._file.splitlines(keepends=True)
        for _ in range(random.choice((1, 2, 5))):
            at = random.randrange(len(lines))
            lines[at] = f"{lines[at].partition(':')[0]}: {random.choice(_VALUES)}\n"
        said = "".join(lines)
        return said if pick < 0.6 else mutated(random, said.encode()).decode("utf-8", "replace")

    def _value(self, random: Random) -> str:
        key = random.choice(ALL)
        given = random.choice(
            (*_VALUES, *NAMES, str(integer(random)), default_text(key), text(random))
        )
        try:
            key.parse(key.name, given if random.random() < 0.9 else [given, given])
        except IllegalArgument:
            return "value refused"
        return "value taken"

    def _edit(self, random: Random, said: str) -> str:
        key = random.choice(ALL)
        value = random.choice((*_VALUES, *NAMES))
        try:
            after = edited(said, key.section, key.item, value, "file")
        except (IllegalArgument, StorageFailed):
            return "edit refused"
        if parse_document(after, "file").sections[key.section][key.item].value != value:
            raise Wrong(f"{key.name} was set to {value!r} and is something else")
        return "edited"

    def close(self) -> None:
        """Nothing was started."""
