"""The configuration of a running server: told, and changed (config specification, section 3)."""

from __future__ import annotations

import threading
from dataclasses import replace
from difflib import get_close_matches

from milvine.config import ALL, BY_NAME, Configuration, Key, text_of
from milvine.config.sources import ENVIRONMENT, FLAG, KEPT_FILE
from milvine.engine.database import Database
from milvine.errors import CallerError, Unsupported
from milvine.redaction import as_shown
from milvine.server.configuration.kept_settings import check_kept, keep, only_reads, yaml_files


class RunningConfiguration:
    """What every door reads and changes. Thread-safe.

    `restart_required` becomes true, and stays so, when a value was set that acts at the next start.
    """

    def __init__(self, database: Database, configuration: Configuration) -> None:
        self._database, self._file, self._kept = database, configuration.file, configuration.kept
        self._values = dict(configuration.values)
        self._only_reads = only_reads(configuration)
        self._lock = threading.Lock()
        self.restart_required = False

    def tree(self) -> dict[str, dict[str, str]]:
        """Section -> key -> value of everything, as text."""
        sections: dict[str, dict[str, str]] = {}
        for name, value in list(self._values.items()):
            sections.setdefault(BY_NAME[name].section, {})[BY_NAME[name].item] = as_shown(
                name, value.text
            )
        return sections

    def get(self, name: str) -> str:
        """The value of `section.key` as text.

        Raises:
            CallerError: there is no such key.
        """
        key = _key(name)
        return as_shown(key.name, self._values[key.name].text)

    def set(self, name: str, value: object) -> None:
        """Change a value: at once for live keys, at the next start for others. It is kept in
        the configuration file, or without one in the data folder. The text that stands for a
        secret leaves that as it is.

        Raises:
            CallerError: there is no such key, or it is none that can be set.
            IllegalArgument: the value is malformed or out of range.
            Unsupported: it acts at the start only, and nothing keeps it until then; or the folder
                that keeps it could not be opened with it.
            StorageFailed: the file cannot be written; nothing was changed.
        """
        key = _key(name)
        if not key.settable:
            raise CallerError(
                f"Config node invalid: {name}. It cannot be set at run time, only in the file"
            )
        before = self._values[name].text
        if value == as_shown(name, before) != before:
            value = before
        text, parsed = text_of(key, value), key.parse(name, value)
        with self._lock:
            if not key.live:
                self._check_lasting(key)
                if self._file is None:
                    check_kept(self._values, name, parsed)
            self._keep(key, text.split(",") if "devices" in key.item else text)
            if key.live and key.field:
                self._database.configure(name, text)
            self._values[name] = replace(self._values[name], text=text, parsed=parsed)
            self.restart_required |= not key.live and not key.idle

    def _keep(self, key: Key, value: str | list[str]) -> None:
        if self._file is not None:
            yaml_files().set_in_file(self._file, key.section, key.item, value)
        elif self._kept is not None:
            keep(self._kept, key.name, value)

    def _check_lasting(self, key: Key) -> None:
        origin = self._values[key.name].origin
        if origin.kind in (FLAG, ENVIRONMENT) and key.name != "storage.path":
            where = "the file" if self._file else KEPT_FILE
            raise Unsupported(
                f"{key.name} was given by {origin}, which wins over {where}. Change it there"
            )
        if self._file is None and self._only_reads:
            raise Unsupported(
                f"{key.name} cannot be changed while the server runs, and a reader keeps no"
                " settings in the folder; start it with --config FILE or --set"
            )
        if self._file is None and (self._kept is None or key.name == "storage.path"):
            raise Unsupported(
                f"{key.name} cannot be changed while the server runs, and no file keeps it until"
                " the next start. Start the server with --config FILE, or with another value"
            )


def _key(name: str) -> Key:
    if name not in BY_NAME:
        # Behind the text of 1.x, and only where it has no key that could be meant.
        close = get_close_matches(name, [key.name for key in ALL if key.addition], 1, 0.9)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise CallerError(f"Config node invalid: {name}{hint}")
    return BY_NAME[name]
