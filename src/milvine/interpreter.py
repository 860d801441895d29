"""Command lines of further interpreters, which import from where this one does and never from the
current folder.

`python -c` and `python -m` put the current folder first: whoever may write there, a file json.py
say, would have it run by whatever is started there. Python has an option against it from 3.11 on
alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import milvine

_FIRST = """import sys
_end = 2 + int(sys.argv[1])
sys.path[:] = sys.argv[2:_end]
del sys.argv[1:_end], _end
"""
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def executable() -> str:
    """The interpreter to start; empty where there is none, as in a program that is frozen.

    Where a server such as uWSGI has Python in it, `sys.executable` is that server.
    """
    if getattr(sys, "frozen", False):
        return ""
    given = sys.executable or ""
    if "py" in os.path.basename(given).lower():
        return given
    installed = os.path.join(sys.exec_prefix, "bin", "python3")
    return installed if os.access(installed, os.X_OK) else ""


def _options() -> list[str]:
    """Those of this interpreter that keep it from what others may set or put there,
    PYTHONHOME say.
    """
    flags = sys.flags
    chosen = {
        "-I": flags.isolated,
        "-E": flags.ignore_environment,
        "-s": flags.no_user_site,
        "-S": flags.no_site,
    }
    return [option for option, is_set in chosen.items() if is_set]


def _places() -> list[str]:
    """Those of this interpreter that do not depend on the current folder, and where Milvine itself
    was found.
    """
    places = [place for place in sys.path if os.path.isabs(place)]
    home = str(Path(milvine.__file__).absolute().parents[1])
    return places if home in places else [home, *places]


def running(code: str, *arguments: str) -> list[str]:
    """To run `code`, which finds `sys` imported and `arguments` in `sys.argv[1:]`."""
    places = _places()
    return [executable(), *_options(), "-c", _FIRST + code, str(len(places)), *places, *arguments]


def running_module(name: str, *arguments: str) -> list[str]:
    """To run a module, as `python -m` does."""
    return running(_RUN, name, *arguments)
