"""Draws docs/images/hello.svg, the terminal picture of the README, from what `examples/hello.py`
really prints.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 110
HEAD, TAIL = 14, 22  # lines shown: the whole page would be longer than a screen


def main() -> None:
    command = [sys.executable, str(ROOT / "examples" / "hello.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ make hello", style="bold"))
    lines = [line for line in printed.splitlines() if not line.startswith("...")]
    for line in (*lines[:HEAD], "⋮", *lines[-TAIL:]):
        console.print(_coloured(line), overflow="ellipsis", no_wrap=True)
    picture = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title="milvine"), flags=re.DOTALL
    )
    (ROOT / "docs" / "images" / "hello.svg").write_text(picture, encoding="utf-8")


def _coloured(line: str) -> Text:
    """Calls stand out from what they returned."""
    return Text(line, style="green" if line.lstrip().startswith(">>>") else "")


if __name__ == "__main__":
    main()
