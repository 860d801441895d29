"""Prints the public surface of whatever `milvus` package is installed, as JSON: one flat dict, path
-> what is there.

Runs by itself, in the environment of pymilvus and in Milvine's own.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from typing import Any

import milvus

MODULES = ("exceptions", "abstract", "types", "asynch", "prepare", "hooks", "stub")
RESULTS = (
    "CollectionSchema",
    "IndexParam",
    "PartitionParam",
    "QueryResult",
    "RowQueryResult",
    "TopKQueryResult",
)


def parameters(function: Any) -> list[str]:
    """Names and defaults of what may be given by position; keywords alone are not seen."""
    given = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    return [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in given
        if p.name != "self"
    ]


def takes_any_keyword(function: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def public(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]


def methods(kind: Any) -> dict[str, Any]:
    names = [
        name
        for name in [*public(kind), "_cmd", "__init__"]
        if inspect.isroutine(getattr(kind, name, None))
    ]
    return {name: getattr(kind, name) for name in names}


def bases(error: Any) -> list[str]:
    return [base.__name__ for base in error.__mro__[1:]]


def surface() -> dict[str, Any]:
    found: dict[str, Any] = {f"milvus.{name}": True for name in milvus.__all__}
    for name, method in methods(milvus.Milvus).items():
        found[f"Milvus.{name}"] = parameters(method)
    found["Milvus, any keyword"] = [
        n for n, method in methods(milvus.Milvus).items() if takes_any_keyword(method)
    ]
    for name in public(milvus.Milvus):
        if isinstance(inspect.getattr_static(milvus.Milvus, name), property):
            found[f"Milvus.{name}"] = "property"
    for name, method in methods(milvus.Prepare).items():
        if name != "__init__":
            found[f"Prepare.{name}"] = parameters(method)
    for name in public(milvus.Status):
        value = getattr(milvus.Status, name)
        found[f"Status.{name}"] = value if isinstance(value, int) else parameters(value)
    found["Status()"] = [parameters(milvus.Status.__init__), repr(milvus.Status())]
    for enum in (milvus.IndexType, milvus.MetricType):
        for name, member in enum.__members__.items():
            found[f"{enum.__name__}.{name}"] = [member.value, str(member), repr(member)]
    for name in MODULES:
        found.update(module_surface(importlib.import_module(f"milvus.client.{name}"), name))
    return found


def module_surface(module: Any, short: str) -> dict[str, Any]:
    """Classes that a module of pymilvus defines; of those that one of Milvine's passes on, all."""
    found: dict[str, Any] = {}
    for name, kind in vars(module).items():
        if not inspect.isclass(kind) or not kind.__module__.startswith(
            (module.__name__, "milvine")
        ):
            continue
        path = f"milvus.client.{short}.{name}"
        found[path] = bases(kind) if issubclass(kind, Exception) else True
        if short == "abstract" and name in RESULTS:
            found[f"{path}()"] = parameters(kind.__init__)
        if short == "asynch" and name.endswith("Future"):
            found[f"{path}."] = public(kind)
        if short == "hooks":
            found[f"{path}."] = {
                hook: parameters(method)
                for hook, method in methods(kind).items()
                if hook != "__init__"
            }
    return found


if __name__ == "__main__":
    json.dump(surface(), sys.stdout)
