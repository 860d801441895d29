"""Builders that run a program of the test's in place of their own."""

from __future__ import annotations

import pytest

from milvine.maintenance import process
from milvine.maintenance.process import PROGRAM, Process

INSTEAD = """
import os, signal, sys, time
from milvine.maintenance import builder
def instead(spec, report):
    report("training", 0)
    {}
builder.build = instead
sys.exit(builder.main())
"""
"""A builder that takes its work, says so, and then does something else."""


def start_builders(monkeypatch: pytest.MonkeyPatch, *programs: str) -> list[Process]:
    """The processes of builders that are started from now on, in order. The first runs the first of
    `programs`, and so on; the last program is for all that follow.
    """
    started: list[Process] = []
    start, left = process.start_builder, list(programs or [PROGRAM])

    def start_one() -> Process:
        started.append(start(left.pop(0) if len(left) > 1 else left[0]))
        return started[-1]

    monkeypatch.setattr(process, "start_builder", start_one)
    return started
