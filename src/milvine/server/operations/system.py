"""Flush, compact and commands (specification 2.5, 3.19, 3.20)."""

from __future__ import annotations

from typing import Any

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import Unsupported
from milvine.server import validate
from milvine.wire import schema

_CONFIG_COMMANDS = ("get_config", "set_config")


def flush(database: Database, request: Any) -> Any:
    """FlushParam -> Status. Names are looked up as they are: an illegal one is an unknown one."""
    database.flush(list(request.collection_name_array))
    return schema.Status()


def compact(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    validate.check_name(request.collection_name)
    database.compact(request.collection_name)
    return schema.Status()


def command(settings: Settings, request: Any) -> Any:
    """Command -> StringReply. A command that nobody knows is no error.

    Raises:
        Unsupported: get_config and set_config.
    """
    if request.cmd[:10] in _CONFIG_COMMANDS:
        raise Unsupported(
            f"{request.cmd[:10]} is not served by this release. Settings are read from the file given to "
            "`milvine serve --config` when the server starts"
        )
    answers = {"version": settings.report_version, "status": "OK", "mode": "CPU", "build_commit_id": "Unknown"}
    return schema.StringReply(string_reply=answers.get(request.cmd, "Unknown command"))
