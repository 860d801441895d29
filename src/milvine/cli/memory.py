"""The memory plan as people and programs read it: `milvine config show`."""

from __future__ import annotations

from collections.abc import Sequence

from milvine.config import KEYS, Configuration
from milvine.config.sources import DEFAULT
from milvine.config.values import shown_size
from milvine.limits import MIB
from milvine.memory_plan import ANY_BYTES, PROGRAM_BYTES, Kind, MemoryPlan, Part

_NOT_HELD = {Kind.INSIDE: "inside", Kind.PAGES: "pages", Kind.FILES: "pages"}


def plan_as_object(plan: MemoryPlan, found: Configuration) -> dict[str, object]:
    """For programs: bytes of the limit (0: nobody says), of the program, of all parts that count
    together, and of each part (None: no bound).
    """
    return {
        "limit": plan.limit,
        "program": PROGRAM_BYTES,
        "most": plan.most if plan.limit else None,
        "parts": {
            part.name: {
                "bytes": None if size >= ANY_BYTES else size,
                "held": part.held,
                "share": part.rule(plan.mapped),
                "counts": part.counts(plan.mapped),
                "decided_by": _decided(part, size, found),
                "setting": KEYS[part.setting][0] if part.setting else None,
                "purpose": part.purpose,
            }
            for part, size in plan.parts()
        },
    }


def print_plan(plan: MemoryPlan, found: Configuration) -> None:
    """For people, a line for each part, and what they come to."""
    lines = [("MEMORY", "SIZE", "HELD", "SHARE", "FROM", "PURPOSE")]
    for part, size in plan.parts():
        held = f"{part.held}x" if part.counts(plan.mapped) else _NOT_HELD[part.kind]
        decided = _decided(part, size, found)
        rule = part.rule(plan.mapped)
        lines.append((part.name, shown_bytes(size), held, rule, decided, part.purpose))
    print_columns(lines)
    if plan.limit:
        print(
            f"This process may take {shown_bytes(plan.limit)}. The program has"
            f" {shown_bytes(PROGRAM_BYTES)}; with every part full, {shown_bytes(plan.most)} are"
            " held."
        )
    else:
        print("The system does not say how much memory this process may take.")


def print_columns(lines: Sequence[Sequence[str]]) -> None:
    """Cells below each other, the last of a line as it is."""
    widths = [min(max(map(len, column)), 60) for column in zip(*lines, strict=True)][:-1]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, line[-1]]).rstrip())


def _decided(part: Part, size: int, found: Configuration) -> str:
    """The key of the setting where somebody gave it; `memory` where the share is less than what it
    is without a limit; else `default`.
    """
    if part.setting:
        key = KEYS[part.setting][0]
        if found.values[key].origin.kind != DEFAULT:
            return key
    return "memory" if size < part.most else "default"


def shown_bytes(size: int) -> str:
    """In whole MB, or KB where they are few."""
    if size >= ANY_BYTES:
        return "any"
    return shown_size(size // MIB * MIB) if size >= 10 * MIB else f"{size // 1024}KB"
