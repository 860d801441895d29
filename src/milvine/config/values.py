"""Values of a configuration file: from what YAML, a flag or the environment gives to what Milvine
works with.

A parser takes (key, value) and returns the parsed value, or raises IllegalArgument with key, value
and allowed range.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from milvine.errors import IllegalArgument
from milvine.redaction import as_shown

Parser = Callable[[str, object], Any]

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TRUE, _FALSE = {"true", "on", "yes", "1"}, {"false", "off", "no", "0", ""}
_MOST = 1 << 31
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)
_COLLECTION = re.compile(r"[A-Za-z0-9_]{1,255}")
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_POSTGRESQL = re.compile(r"postgresql(\+psycopg)?://[^/\s]*/[^/?\s]+(\?\S*)?")
_TIMEZONE = re.compile(r"UTC(?:([+-])(\d{1,2})(?::([0-5]\d))?)?")


def bad(key: str, value: object, expected: str) -> IllegalArgument:
    """The error for a value that a key does not take."""
    return IllegalArgument(
        f"Invalid {key}: {as_shown(key, raw(key, value)) or '(empty)'}. {expected}"
    )


def raw(key: str, value: object) -> str:
    """A value as 1.x holds it: a string, sequences joined by commas, nothing as the empty string.

    Raises:
        IllegalArgument: the value is a section of its own, or a list of lists.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        raise IllegalArgument(
            f"Invalid {key}: it holds keys of its own. The file has two levels, section and key"
        )
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if any(isinstance(item, (Mapping, list)) for item in value):
            raise IllegalArgument(f"Invalid {key}: a list of lists. Expected a list of words")
        return ",".join(raw(key, item) for item in value)
    return str(value).strip()


def parse_size(key: str, value: object) -> int:
    """Bytes of a size such as `4GB` or `256mb`; a bare number is bytes (config specification,
    section 1).
    """
    match = re.fullmatch(r"([0-9]{1,18})([bkmg]?)b?", raw(key, value).lower())
    if match is None or match[0].endswith("bb"):
        raise bad(key, value, "Expected an integer with an optional unit b, kb, mb or gb")
    return int(match[1]) * _UNITS[match[2]]


def parse_bool(key: str, value: object) -> bool:
    """true/on/yes/1 and false/off/no/0/empty, in any case."""
    word = raw(key, value).lower()
    if word not in _TRUE | _FALSE:
        raise bad(key, value, "Expected true or false")
    return word in _TRUE


def _number(key: str, value: object) -> float:
    try:
        return float(raw(key, value))
    except ValueError:
        raise bad(key, value, "Expected a number") from None


def number(least: float, most: float) -> Parser:
    """Numbers from `least` to `most`, both included."""

    def parse(key: str, value: object) -> float:
        parsed = _number(key, value)
        if not least <= parsed <= most:
            raise bad(key, value, f"The range is [{least:g}, {most:g}]")
        return parsed

    return parse


def share(key: str, value: object) -> float:
    """A number between 0 and 1, neither included."""
    parsed = _number(key, value)
    if not 0 < parsed < 1:
        raise bad(key, value, "The range is (0, 1)")
    return parsed


def whole(least: int, most: int = _MOST) -> Parser:
    """Whole numbers from `least` to `most`, both included."""

    def parse(key: str, value: object) -> int:
        text = raw(key, value)
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise bad(
                key,
                value,
                "Expected a number" if not _is_number(text) else "Expected a whole number",
            )
        if not least <= int(text) <= most:
            raise bad(key, value, f"The range is [{least}, {most}]")
        return int(text)

    return parse


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def size(least: int, most: int = 1 << 62) -> Parser:
    """Sizes from `least` to `most` bytes, both included."""

    def parse(key: str, value: object) -> int:
        parsed = parse_size(key, value)
        if not least <= parsed <= most:
            reach = (
                "It must be more than 0"
                if least == 1
                else f"The range is [{shown_size(least)}, {shown_size(most)}]"
            )
            raise bad(key, value, reach)
        return parsed

    return parse


def clamped_size(least: int, most: int) -> Parser:
    """Sizes; smaller and larger ones are taken for the nearest of the range, as 1.x does."""
    return lambda key, value: min(max(parse_size(key, value), least), most)


def word(*allowed: str) -> Parser:
    """One of some words, in any case; returned in small letters."""

    def parse(key: str, value: object) -> str:
        text = raw(key, value).lower()
        if text not in allowed:
            raise bad(key, value, f"Expected one of {', '.join(allowed)}")
        return text

    return parse


def threads(key: str, value: object) -> int:
    """Threads; 0 stands for every core."""
    cores = os.cpu_count() or 1
    parsed: int = whole(0, cores)(key, value)
    return parsed or cores


port = whole(1025, 65534)


def lane_port(key: str, value: object) -> str:
    """A port, `auto` or `off`, as text."""
    text = raw(key, value).lower()
    if text not in ("auto", "off") and not (text.isdecimal() and 1025 <= int(text) <= 65534):
        raise bad(key, value, "Expected auto, off or a port from 1025 to 65534")
    return text


def text(key: str, value: object) -> str:
    """Any text on one line."""
    found = raw(key, value)
    if not found.isprintable():
        shown = as_shown(key, found)
        raise IllegalArgument(f"Invalid {key}: {shown!r}. Expected printable text on one line")
    return found


def host(key: str, value: object) -> str:
    """An IPv4 or IPv6 address, or a host name (1.x took IPv4 only)."""
    found = raw(key, value)
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        if not _HOST.fullmatch(found) or re.fullmatch(r"[0-9.]+", found):
            raise bad(key, value, "Expected an IP address or a host name") from None
    return found


def host_or_none(key: str, value: object) -> str:
    """As `host`; nothing stays nothing."""
    return host(key, value) if raw(key, value) else ""


def path(key: str, value: object) -> str:
    """An absolute path. Dots and blanks in names, which 1.x refuses, are fine."""
    found = text(key, value)
    if not PurePath(found).is_absolute():
        raise bad(key, value, "Expected an absolute path")
    return found


def path_or_none(key: str, value: object) -> str:
    """As `path`; nothing stays nothing."""
    return path(key, value) if raw(key, value) else ""


def file_or_none(key: str, value: object) -> str | None:
    """As `path`; nothing becomes None."""
    return path_or_none(key, value) or None


def url_or_none(key: str, value: object) -> str:
    """An http or https URL, or nothing."""
    found = text(key, value)
    if found and not re.fullmatch(r"https?://[^\s/]+\S*", found):
        raise bad(key, value, "Expected an http:// or https:// URL")
    return found


def origins(key: str, value: object) -> tuple[str, ...]:
    """Origins of web pages, such as `https://a.example:8443`, joined by commas; or `*` for every
    one; or nothing.
    """
    found = tuple(part.strip() for part in raw(key, value).split(",")) if raw(key, value) else ()
    if found != ("*",) and not all(_ORIGIN.fullmatch(each) for each in found):
        raise bad(key, value, "Expected origins such as https://a.example joined by commas, or *")
    return found


def timezone(key: str, value: object) -> str:
    """`UTC`, `UTC±H` or `UTC±H:MM`, or nothing for the system's own."""
    found = raw(key, value)
    match = _TIMEZONE.fullmatch(found)
    if found and (match is None or int(match[2] or 0) > 14):
        raise bad(key, value, "Expected UTC, UTC+H or UTC+H:MM, from UTC-14 to UTC+14")
    return found


def meta_uri(key: str, value: object) -> str:
    """`sqlite://:@:/`: the catalog is a SQLite file in the data folder. Or the URI of a PostgreSQL
    database.
    """
    found = text(key, value)
    scheme = found.partition("://")[0]
    if re.fullmatch(r"(mysql|mariadb)(\+\w+)?", scheme):
        what = f"Invalid {key}: {scheme}://... is not supported by this release. Use sqlite://:@:/"
        raise IllegalArgument(
            f"{what}, which keeps the catalog in the data folder, or postgresql://"
        )
    if scheme in ("postgresql", "postgresql+psycopg"):
        if not _POSTGRESQL.fullmatch(found):  # the text may hold a password
            raise IllegalArgument(
                f"Invalid {key}: {scheme}://.... Expected postgresql://user:password@host:port/database"
            )
        return found
    if found != "sqlite://:@:/":
        raise bad(
            key, value, "Expected sqlite://:@:/ or postgresql://user:password@host:port/database"
        )
    return found


def names(key: str, value: object) -> tuple[str, ...]:
    """Collection names joined by commas, none twice; or `*` for every collection; or nothing."""
    found = tuple(part.strip() for part in raw(key, value).split(",")) if raw(key, value) else ()
    if found != ("*",) and not all(_COLLECTION.fullmatch(name) for name in found):
        raise bad(key, value, "Expected collection names joined by commas, or *")
    if len(set(found)) != len(found):
        raise bad(key, value, "A collection is named twice")
    return found


def devices(kind: str) -> Parser:
    """Device names such as `gpu0`, joined by commas, none twice."""

    def parse(key: str, value: object) -> str:
        found = raw(key, value).lower()
        parts = [part.strip() for part in found.split(",")]
        if not all(re.fullmatch(rf"{kind}[0-9]+", part) for part in parts) or len(
            set(parts)
        ) != len(parts):
            raise bad(key, value, f"Expected {kind}0, {kind}1, ... joined by commas, none twice")
        return found

    return parse


def always_false(key: str, value: object) -> bool:
    """A switch that must stay off."""
    if parse_bool(key, value):
        raise bad(key, value, "Milvine has no code for such devices: only false is allowed")
    return False


def shown_size(value: int) -> str:
    """Bytes in the largest whole unit, as `parse_size` reads them."""
    unit = next((u for u in ("g", "m", "k") if value and value % _UNITS[u] == 0), "")
    return f"{value // _UNITS[unit]}{unit.upper()}B" if unit else str(value)


def shown(value: object, is_size: bool) -> str:
    """A parsed value as a configuration file would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if is_size and isinstance(value, int):
        return shown_size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
