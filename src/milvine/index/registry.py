"""The index types there are, by their specs.

Milvine's own stand in `SPECS` of the kernels' modules: FLAT is there at once, the others when one
is asked for. Other distributions add theirs by entry points of the group `milvine.index_types`,
each of which names an `IndexSpec`, several, a module with `SPECS` or a function that gives some.
Those are looked for when a type is asked for that is none of Milvine's, or all are listed: to look
through what is installed takes longer than to open a database. One that is broken does no harm
until it is asked for.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from milvine.errors import Unsupported
from milvine.index import raw
from milvine.index.base import Kernel
from milvine.index.spec import IndexSpec
from milvine.interrupts import interrupts
from milvine.types import INDEX_TYPE_MAX, OTHERS_LEAST, IndexType, MetricType

GROUP = "milvine.index_types"

_PACKAGES = ("milvine.index", "milvine.index.graphs", "milvine.index.inverted")
_NUMBER = re.compile(r"[0-9]{4,10}\Z", re.ASCII)
_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")

_found: dict[tuple[int, bool], IndexSpec] = {}
"""By number and whether it is for binary vectors: those that were asked for, and Milvine's own."""


def _add(specs: Iterable[IndexSpec]) -> None:
    for each in specs:
        for binary in {metric.is_binary for metric in each.metrics}:
            _found[each.number, binary] = each


_add(raw.SPECS)


def spec(index_type: int, binary: bool | None = None) -> IndexSpec:
    """What there is to know of a type over float or binary vectors. None: over either, of a type
    whose names and parameters are wanted; float first.

    Raises:
        Unsupported: there is none. The text says what to use instead, or what is wrong with the
            distribution that adds it.
    """
    found = _found.get((index_type, bool(binary)))
    return _looked_up(index_type, binary) if found is None else found


def serving(index_type: int, metric: MetricType) -> IndexSpec | None:
    """The spec by which a type serves vectors under a metric; None where it does not.

    Raises:
        Unsupported: there is no such type.
    """
    spec(index_type)
    found = _found.get((index_type, metric.is_binary))
    return found if found is not None and metric in found.metrics else None


def kernel(index_type: int, binary: bool = False) -> Kernel:
    """The kernel of an index type, over float or binary vectors.

    Raises:
        Unsupported: there is none, or it needs a package that is not installed.
    """
    found = spec(index_type, binary)
    found.require()
    return found.kernel


def known() -> tuple[IndexSpec, ...]:
    """Milvine's own types and those of others that were asked for, by number; nothing is searched
    for.
    """
    _load_own()
    return _listed(len(_found))


@lru_cache(maxsize=1)
def _listed(count: int) -> tuple[IndexSpec, ...]:
    """Those of `_found`, which grows until it is forgotten."""
    return tuple(dict.fromkeys(_found[key] for key in sorted(_found)))


def every() -> tuple[IndexSpec, ...]:
    """All types, by number: those of other distributions, too, but for broken ones."""
    for number in installed().specs:
        _ask(number)
    return known()


def by_name(name: str) -> IndexSpec | None:
    """The type that `IndexType` or a client of 1.x calls so; None where there is none."""
    return _first(lambda each: name in (each.name, *each.other_names))


def by_rest_name(name: str) -> IndexSpec | None:
    """The type that the RESTful API calls so, or whose number it is where another distribution adds
    it: a client may not have that installed. None where there is none.
    """
    number = int(name) if _NUMBER.match(name) else 0
    if number >= OTHERS_LEAST:
        return spec(number) if is_there(number) else None
    return _first(lambda each: name == each.rest_name)


def _first(wanted: Callable[[IndexSpec], bool]) -> IndexSpec | None:
    """Of Milvine's own, and where none is, of all."""
    for specs in (known, every):
        for each in specs():
            if wanted(each):
                return each
    return None


def rest_name(index_type: int) -> str:
    """The name in the RESTful API; the number where the type is not there."""
    return spec(index_type).rest_name if is_there(index_type) else str(int(index_type))


def rest_names(specs: Iterable[IndexSpec]) -> list[str]:
    """Of some types, each once."""
    return list(dict.fromkeys(each.rest_name for each in specs))


def stats_name(index_type: int) -> str:
    """The name in statistics; the number where the type is not there."""
    return spec(index_type).stats_name if is_there(index_type) else str(int(index_type))


def is_there(index_type: int) -> bool:
    """Whether there is a type of this number."""
    try:
        return bool(spec(index_type))
    except Unsupported:
        return False


def faults(index_type: int) -> list[str]:
    """Why a type of this number may be missing: what is wrong with distributions that may add it,
    a sentence each without its full stop.
    """
    if index_type < OTHERS_LEAST:
        return []
    wrong = installed().faults
    return wrong.get(index_type) or wrong[None]


def _looked_up(index_type: int, binary: bool | None) -> IndexSpec:
    _load_own()
    if index_type >= OTHERS_LEAST:
        _ask(index_type)
    for family in (False, True) if binary is None else (binary,):
        if (index_type, family) in _found:
            return _found[index_type, family]
    raise Unsupported(_refusal(index_type, binary))


def _refusal(index_type: int, binary: bool | None) -> str:
    same = bool(binary)
    built = ", ".join(_found[key].name for key in sorted(_found) if key[1] == same)
    number = int(index_type)
    name = next((each.name for each in IndexType if each == number), number)
    refusal = f"Index type {name} is not supported by this release. Use one of {built}"
    if index_type < OTHERS_LEAST or index_type in installed().specs:
        return refusal
    why = faults(index_type) or [f"no entry point of the group {GROUP} gives it"]
    return f"Index type {number} is of no distribution that is installed: {'. '.join(why)}"


# Milvine's own


@cache
def _load_own() -> None:
    for package in _PACKAGES:
        for each in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            if not each.ispkg:
                _add(getattr(import_module(each.name), "SPECS", ()))


# Those of other distributions


class Installed(NamedTuple):
    """What other distributions add.

    Attributes:
        specs: those that can be used, by number.
        faults: what is wrong with others, by number; under None where the number is not known.
    """

    specs: dict[int, tuple[IndexSpec, ...]]
    faults: dict[int | None, list[str]]


def installed() -> Installed:
    """The types that other distributions add, searched for where `sys.path` leads."""
    return _installed(tuple(sys.path))


def forget_installed() -> None:
    """Have the types of other distributions searched for again, where one was installed or upgraded
    since this process began. Indexes that are open stay as they are.
    """
    _installed.cache_clear()
    for key in [key for key in _found if key[0] >= OTHERS_LEAST]:
        _found.pop(key, None)
    _listed.cache_clear()


def _ask(number: int) -> None:
    """Have the specs of a number found from now on, if a distribution gives some."""
    for each in installed().specs.get(number, ()):
        if (each.number, next(iter(each.metrics)).is_binary) not in _found:
            IndexType.named(each.number, each.name)
            _add((each,))


@lru_cache(maxsize=1)
def _installed(places: tuple[str, ...]) -> Installed:
    given, unknown = _given()
    ours = (each for each in known() if each.number < OTHERS_LEAST)
    taken = _names(ours) | set(IndexType.__members__)
    faults: dict[int | None, list[str]] = {None: unknown}
    for number, givers in given.items():
        others = (each for other in given if other != number for each in _specs(given[other]))
        fault = _fault(givers, taken | _names(others))
        if fault:
            faults[number] = [fault]
    usable = {
        number: tuple(_specs(givers)) for number, givers in given.items() if number not in faults
    }
    return Installed(usable, faults)


Givers: TypeAlias = dict[str, list[IndexSpec]]
"""What entry points give of one number, by what is said of each."""


def _given() -> tuple[dict[int, Givers], list[str]]:
    """What entry points give, by number; and what is wrong with those that give nothing."""
    given: dict[int, Givers] = {}
    faults = []
    for entry in entry_points(group=GROUP):
        try:
            for each in _specs_of(entry.load()):
                given.setdefault(each.number, {}).setdefault(_said(entry), []).append(each)
        except BaseException as error:  # SystemExit too: it is another program's to raise
            if interrupts(error):
                raise
            faults.append(f"{_said(entry)} cannot be used: {type(error).__name__}: {error}")
    return given, faults


def _specs(givers: Givers) -> Iterator[IndexSpec]:
    return chain.from_iterable(givers.values())


def _fault(givers: Givers, taken: set[str]) -> str:
    """Why none of the specs of one number may be used; empty where they may.

    Which of two is installed first must not decide: a file that one kernel wrote may end the
    process when another opens it.
    """
    who, specs = " and ".join(givers), list(_specs(givers))
    if len(givers) > 1:
        return f"{who} give the same number {specs[0].number}"
    names = {(each.name, each.rest_name, each.stats_name) for each in specs}
    families = [binary for each in specs for binary in {m.is_binary for m in each.metrics}]
    if len(names) > 1 or len(families) > len(set(families)):
        return f"{who} gives the number {specs[0].number} to several types"
    clash = sorted(_names(specs) & taken)
    return f"{who} gives a name that is taken: {clash[0]}" if clash else ""


def _said(entry: EntryPoint) -> str:
    whose = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "(unknown)"
    return f"Entry point {entry.name} ({entry.value}) of distribution {whose}"


def _specs_of(value: Any) -> Iterator[IndexSpec]:
    """The specs that an entry point names."""
    if isinstance(value, IndexSpec):
        value = (value,)
    elif hasattr(value, "SPECS"):
        value = value.SPECS
    elif callable(value):
        return (yield from _specs_of(value()))
    elif not isinstance(value, Iterable):
        raise TypeError(f"{value!r} gives no milvine.index.spec.IndexSpec")
    for each in value:
        if not isinstance(each, IndexSpec):
            raise TypeError(f"{each!r} is no milvine.index.spec.IndexSpec")
        if not OTHERS_LEAST <= each.number <= INDEX_TYPE_MAX:
            least, most = OTHERS_LEAST, INDEX_TYPE_MAX
            raise ValueError(f"the number {each.number} of {each.name} is not in [{least}, {most}]")
        if not each.metrics:
            raise ValueError(f"{each.name} serves no metric")
        if not _NAME.match(each.name):
            raise ValueError(f"the name {each.name!r} is not of capitals, digits and underscores")
        yield each


def _names(specs: Iterable[IndexSpec]) -> set[str]:
    return {name for each in specs for name in (each.name, each.rest_name, *each.other_names)}
