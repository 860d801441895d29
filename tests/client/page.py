"""The Hello World page as data: the lines a person would type, in the page's order."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "data" / "milvus_operation.md"
_PROMPT = ">>> "


def lines() -> list[str]:
    """Every line of the page's Python blocks that has a prompt, without it."""
    blocks = re.findall(
        r"^( *)```python\n(.*?)^ *```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    typed = [line for _, block in blocks for line in textwrap.dedent(block).splitlines()]
    return [line.removeprefix(_PROMPT) for line in typed if line.startswith(_PROMPT)]


def run(code: str, names: dict[str, Any]) -> Any:
    """What a line returns at the prompt; for an assignment the value assigned to its last name."""
    try:
        return eval(code, names)
    except SyntaxError:
        exec(code, names)
    assigned = code.partition(" = ")[0].rpartition(" ")[2]
    return names.get(assigned)
