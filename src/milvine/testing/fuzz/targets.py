"""The targets by name; each is imported when it is run, for some need more than the base
installation.
"""

from __future__ import annotations

from importlib import import_module

from milvine.testing.fuzz.target import MakeTarget

TARGETS = {
    "wire": ("wire", "WireTarget"),
    "rpc": ("ops", "RpcTarget"),
    "grpc": ("door", "DoorTarget"),
    "native": ("door", "NativeDoorTarget"),
    "lane": ("lane", "LaneTarget"),
    "secrets": ("secrets", "SecretTarget"),
    "rest": ("rest", "RestTarget"),
    "log": ("logs", "LogTarget"),
    "folder": ("folder", "FolderTarget"),
    "mending": ("mending", "MendingTarget"),
    "config": ("configs", "ConfigTarget"),
}
"""Name -> (module, class)."""


def load(name: str) -> MakeTarget:
    """What makes the target."""
    module, kind = TARGETS[name]
    made: MakeTarget = getattr(import_module(f"milvine.testing.fuzz.{module}"), kind)
    return made
