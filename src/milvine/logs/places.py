"""Where log lines go: standard error, standard output, files that are rolled."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from milvine.config import Settings
from milvine.errors import OperatorError
from milvine.events import Listener
from milvine.logs.formats import JsonFormatter, TextFormatter, zone
from milvine.logs.levels import TRACE
from milvine.logs.listener import log_events
from milvine.logs.lossy import LosesLines, LossyStream

FILE_NAME = "milvine.log"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


class LogFolderFailed(OperatorError):
    """The log files cannot be written."""


def set_up_logging(settings: Settings, root: logging.Logger | None = None) -> Listener:
    """Send this process's log where the settings say; returns the listener for the events of a
    database.

    `root` (the root logger if None) gets the handlers in place of those an earlier call gave it.
    Libraries that serve with us are heard from ERROR on.

    Raises:
        LogFolderFailed: `logs.path` cannot be made or written to.
    """
    root = logging.getLogger() if root is None else root
    logging.addLevelName(TRACE, "TRACE")
    level = _level(settings)
    handlers = _handlers(settings, level)
    for old in [handler for handler in root.handlers if getattr(handler, "of_milvine", False)]:
        root.removeHandler(old)
        old.close()
    where = zone(settings.timezone)
    for handler in handlers:
        handler.setFormatter(
            JsonFormatter(where) if settings.log_format == "json" else TextFormatter(where)
        )
        handler.of_milvine = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    root.setLevel(logging.ERROR)
    logger = root.getChild("milvine")
    logger.setLevel(level)
    return log_events(logger, settings.slow_query_seconds)


def _level(settings: Settings) -> int:
    level = _LEVELS[settings.log_level]
    return TRACE if level == logging.DEBUG and settings.log_trace_enable else level


def _handlers(settings: Settings, level: int) -> list[LosesLines]:
    """The whole log goes to files and standard output as told, and to standard error when neither
    is asked for.

    With files alone, warnings and worse are said on standard error too, where systemd and
    containers look.
    """
    found: list[LosesLines] = []
    if settings.log_path and settings.log_to_file:
        found.append(_file(Path(settings.log_path), settings))
    if settings.log_to_stdout:
        found.append(LossyStream(sys.stdout))
        found[-1].where = "standard output"
    else:
        errors = LossyStream(sys.stderr)
        errors.setLevel(max(level, logging.WARNING) if found else level)
        found.append(errors)
    return found


def _file(folder: Path, settings: Settings) -> RollingFile:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return RollingFile(folder, settings.log_max_file_size, settings.log_rotate_num)
    except OSError as error:
        raise LogFolderFailed(
            f"Cannot write logs to {folder}: {error.strerror or error}. Set logs.path to a folder"
            " that this user may write to, or logs.log_to_file to false"
        ) from error


class RollingFile(LosesLines, RotatingFileHandler):
    """`milvine.log` in `folder`, renamed to `milvine-<yy>-<MM>-<dd>-<HH>-<mm>-<ss>.log` when it
    reaches `size` bytes.

    The newest `keep` of those stay (0: all). One file holds all levels, in the order of what
    happened.
    """

    def __init__(self, folder: Path, size: int, keep: int) -> None:
        super().__init__(folder / FILE_NAME, maxBytes=size, encoding="utf-8")
        self._folder, self._keep = folder, keep
        self.where = str(folder / FILE_NAME)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """By what the file holds, not by what the record would add: to know that, it would be
        formatted twice.
        """
        return self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self.maxBytes

    def doRollover(self) -> None:
        if self.stream:
            self.stream.close()
            self.stream = None
        (self._folder / FILE_NAME).rename(self._free_name())
        if self._keep:
            for old in self._rolled()[: -self._keep]:
                old.unlink(missing_ok=True)
        self.stream = self._open()

    def _free_name(self) -> Path:
        """By the time, and numbered where several are rolled within one second."""
        stem = datetime.now().strftime("milvine-%y-%m-%d-%H-%M-%S")
        names = (
            f"{stem}-{number:03d}.log" if number else f"{stem}.log" for number in itertools.count()
        )
        return next(path for path in map(self._folder.joinpath, names) if not path.exists())

    def _rolled(self) -> list[Path]:
        """Oldest first."""
        return sorted(
            self._folder.glob("milvine-*.log"),
            key=lambda path: (path.stat().st_mtime_ns, path.name),
        )
