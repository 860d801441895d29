"""The configuration of a running server: told, and changed (config specification, section 3)."""

from __future__ import annotations

import threading
from dataclasses import replace

from milvine.config import BY_NAME, Configuration, Key, as_shown, text_of
from milvine.config.sources import ENVIRONMENT, FLAG
from milvine.engine.database import Database
from milvine.errors import CallerError, Unsupported
from milvine.server.config_file import set_in_file


class RunningConfiguration:
    """What every door reads and changes. Thread-safe.

    `restart_required` becomes true, and stays so, when a value was set that acts at the next start.
    """

    def __init__(self, database: Database, configuration: Configuration) -> None:
        self._database, self._file = database, configuration.file
        self._values = dict(configuration.values)
        self._lock = threading.Lock()
        self.restart_required = False

    def tree(self) -> dict[str, dict[str, str]]:
        """Section -> key -> value of everything, as text."""
        sections: dict[str, dict[str, str]] = {}
        for name, value in list(self._values.items()):
            sections.setdefault(BY_NAME[name].section, {})[BY_NAME[name].item] = as_shown(name, value.text)
        return sections

    def get(self, name: str) -> str:
        """The value of `section.key` as text.

        Raises:
            CallerError: there is no such key.
        """
        key = _known(name)
        return as_shown(key.name, self._values[key.name].text)

    def set(self, name: str, value: object) -> None:
        """Change a value: at once for live keys, at the next start for others; in the file, where there is one.

        Raises:
            CallerError: there is no such key, or it is none that can be set.
            IllegalArgument: the value is malformed or out of range.
            Unsupported: it acts at the start only, and no file keeps it until then.
            StorageFailed: the file cannot be written; nothing was changed.
        """
        key = _known(name)
        if not key.settable:
            raise CallerError(f"Config node invalid: {name}. It cannot be set at run time, only in the file")
        text, parsed = text_of(key, value), key.parse(name, value)
        with self._lock:
            if not key.live:
                self._check_lasting(key)
            if self._file is not None:
                is_list = "devices" in key.item
                set_in_file(self._file, key.section, key.item, text.split(",") if is_list else text)
            if key.live and key.field:
                self._database.configure(name, text)
            self._values[name] = replace(self._values[name], text=text, parsed=parsed)
            self.restart_required |= not key.live and not key.idle

    def _check_lasting(self, key: Key) -> None:
        origin = self._values[key.name].origin
        if self._file is None:
            raise Unsupported(
                f"{key.name} cannot be changed while the server runs, and no file keeps it until the next start. Start "
                "the server with --config FILE, or with another value"
            )
        if origin.kind in (FLAG, ENVIRONMENT):
            raise Unsupported(f"{key.name} was given by {origin}, which wins over the file. Change it there")


def _known(name: str) -> Key:
    if name not in BY_NAME:
        raise CallerError(f"Config node invalid: {name}")
    return BY_NAME[name]
