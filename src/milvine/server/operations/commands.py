"""Cmd: words that the server answers with text (specification 2.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from milvine.errors import CallerError
from milvine.memory import memory_total
from milvine.server.configuration.running import RunningConfiguration
from milvine.server.memory import memory_used
from milvine.server.operations.running import Running
from milvine.wire import schema
from milvine.wire.packed import FEATURES, IDEMPOTENCY_KEY

_BANNER = ">>>>>>>>>>>>>>>ResourceMgr::DumpTaskTable<<<<<<<<<<<<<<<"
_NOT_SUPPORTED = '{"error.message":"not support yet."}'
_TASK_TABLE = f"{_BANNER}\n" + "".join(
    f"{resource}\n{_NOT_SUPPORTED}{resource}\n\n" for resource in ("disk", "cpu")
)


def command(
    configuration: RunningConfiguration,
    version: str,
    running: Running,
    server_answers: Mapping[str, str],
    request: Any,
) -> Any:
    """Command -> StringReply. A command that nobody knows is no error. `server_answers`: by
    command, those about the server around the database.

    Raises:
        CallerError: get_config or set_config without what it needs, or of an unknown key.
        IllegalArgument: set_config to a malformed value.
        Unsupported: set_config of what cannot change while the server runs.
    """
    return schema.StringReply(
        string_reply=_answer(configuration, version, running, server_answers, request.cmd)
    )


def _answer(
    configuration: RunningConfiguration,
    version: str,
    running: Running,
    server_answers: Mapping[str, str],
    text: str,
) -> str:
    if text.startswith("get_config"):
        return _get_config(configuration, text)
    if text.startswith("set_config"):
        return _set_config(configuration, text)
    fixed = {
        "version": version,
        "status": "OK",
        "mode": "CPU",
        "build_commit_id": "Unknown",
        "tasktable": _TASK_TABLE,
    }
    if text == FEATURES:
        return IDEMPOTENCY_KEY
    if text == "get_system_info":
        return _compact({"memory_total": str(memory_total()), "memory_used": str(memory_used())})
    if text == "requests":
        return _compact({"requests": running.others()})
    return server_answers.get(text) or fixed.get(text, "Unknown command")


def _get_config(configuration: RunningConfiguration, text: str) -> str:
    words = _words(text, 2)
    if words[1] == "*":
        return _compact(configuration.tree())
    return configuration.get(_dotted(text, words[1]))


def _set_config(configuration: RunningConfiguration, text: str) -> str:
    _, name, value = _words(text, 3)
    configuration.set(_dotted(text, name), value)
    return ""


def _words(text: str, count: int) -> list[str]:
    words = text.split(" ")
    if len(words) != count:
        raise CallerError(f"Invalid command: {text}")
    return words


def _dotted(text: str, name: str) -> str:
    if "." not in name:
        raise CallerError(f"Invalid command: {text}")
    return name


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
