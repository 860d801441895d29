"""Command lines of further interpreters, which import from where this one does and never from the current folder.

`python -c` and `python -m` put the current folder first: whoever may write there, a file json.py say, would have it run
by whatever is started there. Python has an option against it from 3.11 on alone.
"""

from __future__ import annotations

import os
import sys

_FIRST = """import sys
_end = 2 + int(sys.argv[1])
sys.path[:] = sys.argv[2:_end]
del sys.argv[1:_end], _end
"""
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def running(code: str, *arguments: str) -> list[str]:
    """To run `code`, which finds `sys` imported and `arguments` in `sys.argv[1:]`."""
    places = [place for place in sys.path if os.path.isabs(place)]
    return [sys.executable, "-c", _FIRST + code, str(len(places)), *places, *arguments]


def running_module(name: str, *arguments: str) -> list[str]:
    """To run a module, as `python -m` does."""
    return running(_RUN, name, *arguments)
