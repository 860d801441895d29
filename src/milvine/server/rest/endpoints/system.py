"""The server as a whole: state, devices, commands, tasks (specification 4.1, 4.13, 4.14)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import PlainTextResponse

from milvine.engine.database import Database
from milvine.memory import memory_total
from milvine.server.rest import replies
from milvine.server.rest.admission import Caller
from milvine.server.rest.bodies import SystemTask, checked, parse_json
from milvine.server.rest.calls import Here, Json, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.errors import IllegalBody, UnknownPath
from milvine.server.rest.receive import Body
from milvine.server.security.roles import role_of_command

router = APIRouter(tags=["system"], default_response_class=Json)
_WORDS = {"info": "get_system_info"}
_TASKS = {
    "load": "PreloadCollection",
    "flush": "Flush",
    "compact": "Compact",
    "release": "ReleaseCollection",
}
"""Members of a task in the order of 1.x, and what they amount to."""


@router.get("/", response_class=PlainTextResponse)
async def greet() -> Response:
    """Whether anybody is there."""
    return PlainTextResponse("Welcome to milvus")


@router.get(
    "/state", responses=answers(200, replies.Status, "The server answers", collection=False)
)
async def state(here: Here) -> Response:
    """Whether the server answers."""
    return await here.run("Cmd", lambda: status_reply(message="Success"))


@router.get(
    "/devices", responses=answers(200, replies.Devices, "Physical memory, GiB", collection=False)
)
async def devices(here: Here) -> Response:
    """What the server runs on."""
    return await here.run(
        "Cmd", lambda: reply({"cpu": {"memory": memory_total() >> 30}, "gpus": {}})
    )


@router.put(
    "/system/task",
    responses=answers(200, replies.Status, "Done", collection=False),
    openapi_extra=takes(SystemTask),
)
async def run_task(here: Here, request: Request) -> Response:
    """Load, release, flush or compact; the answer comes when it is done."""

    def work(body: Body) -> Json:
        value = parse_json(body.data)
        kind = next((kind for kind in _TASKS if isinstance(value, dict) and kind in value), None)
        if kind is None:
            raise IllegalBody(f"The body must have one of the members {', '.join(_TASKS)}.")
        _do(here.database, checked({kind: value[kind]}, SystemTask))
        return status_reply()

    return await here.run_with_body(lambda body: _TASKS.get(body.member(), "Flush"), request, work)


def _do(database: Database, task: SystemTask) -> None:
    if task.load:
        database.collection(task.load.collection_name).preload(task.load.partition_tags or [])
    elif task.flush:
        database.flush(task.flush.collection_names)
    elif task.compact:
        database.collection(task.compact.collection_name).compact()
    elif task.release:
        database.collection(task.release.collection_name).release(task.release.partition_tags or [])


@router.put("/system/{other}", include_in_schema=False)
async def put_elsewhere(here: Here, other: str) -> Response:
    """There is nothing else to put."""

    def refuse() -> Json:
        raise UnknownPath(f"Unknown path: /system/{other}")

    return await here.run("Cmd", refuse)


@router.get(
    "/system/{info}",
    responses=answers(200, replies.SystemReply, "The answer, a text", collection=False),
)
async def command(
    here: Here,
    caller: Caller,
    info: Annotated[
        str,
        Path(
            description=(
                "version, status, mode, tasktable, build_commit_id, info or another command of one"
                " word"
            )
        ),
    ],
) -> Response:
    """Ask the server something. A command that nobody knows is no error."""
    caller.demand("This command", role_of_command(info))

    def work() -> Json:
        return reply(
            {"code": 0, "message": "OK", "reply": here.operations.command(_WORDS.get(info, info))}
        )

    return await here.run("Cmd", work)
