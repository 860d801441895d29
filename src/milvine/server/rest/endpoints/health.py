"""Probes: does the process answer, and does it take requests."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from milvine.server.health import Health
from milvine.server.rest.calls import Json, reply


class Alive(BaseModel):
    status: str = Field(description="`alive` or `dead`.", examples=["alive"])
    reason: str = Field("", description="Which door is dead, and why.")


class Readiness(BaseModel):
    status: str = Field(description="`ready` or `not ready`.", examples=["ready"])
    reason: str = Field("", description="Why it is not.")


def health_router(health: Health) -> APIRouter:
    """`GET /healthz`: 200 from a process that answers at its doors. `GET /readyz`: 200,
    or 503 with the reason."""
    router = APIRouter(tags=["operation"], default_response_class=Json)

    @router.get(
        "/healthz",
        response_model=Alive,
        responses={503: {"description": "Nothing but another start will help", "model": Alive}},
        summary="Whether the process answers at its doors",
    )
    def alive() -> Json:
        reason = health.dead()
        return (
            reply({"status": "dead", "reason": reason}, 503)
            if reason
            else reply({"status": "alive"})
        )

    @router.get(
        "/readyz",
        response_model=Readiness,
        responses={
            503: {"description": "Requests cannot be expected to succeed", "model": Readiness}
        },
        summary="Whether it takes requests",
    )
    def ready() -> Json:
        reason = health.trouble() or health.unanswered()
        return (
            reply({"status": "not ready", "reason": reason}, 503)
            if reason
            else reply({"status": "ready"})
        )

    return router
