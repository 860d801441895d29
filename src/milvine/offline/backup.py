"""Backups while the database is in use, by reading alone: no lock is taken, nobody waits.

Files of segments never change and their names are never used again, so only two things have to be
caught at one moment: the catalog, and the end of the log. The log is held open first, then the
catalog is copied, then it is noted where the log ends; when no collection or partition was made or
dropped meanwhile, both together are the database at one LSN, which no call that had returned before
is behind. Nothing is read between the two, so collections that come and go all the time leave such
moments. Files are held open before any is read: they may be removed then. Those that are gone
before that make it begin again, with what it has by then.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milvine.catalog.model import Contents
from milvine.catalog.place import IN_FOLDER, in_folder, open_catalog
from milvine.catalog.sql import Catalog
from milvine.catalog.sqlite import is_there
from milvine.errors import CorruptFile, StorageFailed
from milvine.ingest.checks import Fitting
from milvine.offline.component import examine
from milvine.offline.logfiles import LogScan, whole_records
from milvine.offline.manifest import PARTIAL, BackedUp, Manifest, checksum, newest, write_manifest
from milvine.segment.layout import TRAILER
from milvine.storage.durable import make_folder, sync_folder, write_file
from milvine.storage.folder import refuse_file, segments_folder, write_format
from milvine.storage.local import LocalStorage
from milvine.storage.log_place import find_log
from milvine.storage.open_files import files_to_hold
from milvine.wal.log import log_files
from milvine.wal.record import BadFrame

_ROUNDS = 50
_PAUSE_SECONDS = 0.05
_CHUNK = 4 << 20
_HELD_FILES_MAX, _HELD_SHARE = 128, 4
"""Files held open at once, and the part of those that a database may hold: this process may be its
server."""


class _Moved(Exception):
    """The database changed in a way that makes this round useless."""


@dataclass(frozen=True, slots=True)
class _LogFile:
    """A file of the log, held open, and how many of its bytes there were at the moment of the
    backup.
    """

    file: BinaryIO
    size: int


def backup(
    root: Path,
    destination: Path,
    link: bool = False,
    indexes: bool = True,
    meta_uri: str = IN_FOLDER,
    log: Path | None = None,
) -> Manifest:
    """Make a backup of the database in `root`, which may be in use, as a new folder in
    `destination`.

    Files that an earlier backup in `destination` has, and that still say the same, are shared with
    it by hard link.

    Args:
        link: share files with the database, too, where the file system can: quick, and no help
            against a failing disk.
        indexes: copy index files as well, so that a restore need not build them.
        meta_uri: where the catalog is (`general.meta_uri`). The backup has it as SQLite, wherever
            it was.
        log: where the log is, if it was moved together with the folder. The
            backup has it in itself.

    Raises:
        StorageFailed: there is no database, its log is not there, or the disk
            refuses; no backup remains.
        CorruptFile: a file of the database is damaged; no backup remains.
    """
    refuse_file(root)
    if in_folder(root, meta_uri) and not is_there(root / "catalog.sqlite"):
        raise StorageFailed(f"{root} holds no Milvine database")
    try:
        source = _Source(root, find_log(root, log), meta_uri)
        make_folder(destination, private=True)
        earlier = newest(destination)
        staging = _claimed(destination)
        final = staging.with_name(staging.name.removesuffix(PARTIAL))
        try:
            made = _Backup(source, staging, earlier, link, indexes).run()
            write_manifest(staging, made)
            os.rename(staging, final)
            sync_folder(destination)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageFailed(f"Cannot make a backup in {destination}: {error}") from error
    return replace(made, folder=str(final))


def _claimed(destination: Path) -> Path:
    """A new folder that nobody else makes a backup in, and whose final name is free for
    as long as it is there."""
    moment = _moment()
    for number in count(1):
        final = destination / f"{moment}-{number:03d}"
        staging = final.with_name(final.name + PARTIAL)
        try:
            staging.mkdir()
        except FileExistsError:
            continue
        if not final.exists():  # only who has the other name gives it
            sync_folder(destination)
            return staging
        staging.rmdir()
    raise AssertionError


def _moment() -> str:
    """The beginning of the name of a backup that is begun now."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


@dataclass(frozen=True, slots=True)
class _Source:
    """The database: its folder, where its log is, where its catalog is."""

    root: Path
    log: Path
    meta_uri: str


class _Backup:
    def __init__(
        self, source: _Source, staging: Path, earlier: Manifest | None, link: bool, indexes: bool
    ) -> None:
        self._root, self._log, self._meta_uri = source.root, source.log, source.meta_uri
        self._staging, self._link, self._indexes = staging, link, indexes
        self._earlier = Path(earlier.folder) if earlier else None
        self._components = earlier.by_name() if earlier else {}
        self._stored = LocalStorage(segments_folder(source.root))
        self._segments = LocalStorage.made(segments_folder(staging))
        self._done: dict[str, BackedUp] = {}  # by name of the file in `segments`
        self._written = 0

    def run(self) -> Manifest:
        for _ in range(_ROUNDS):
            try:
                with ExitStack() as held:
                    contents, log = self._moment(held)
                    names = {
                        name
                        for each in contents.collections
                        for record in each.segments
                        for name in record.files
                    }
                    wanted = sorted(names - self._done.keys())
                    files = self._held(wanted, held)
                    self._copy_log(log, contents.durable_lsn)
                    for name in wanted:
                        with files.get(name) or self._stored.open(name) as file:
                            self._take(name, file)
            except (_Moved, FileNotFoundError):
                time.sleep(_PAUSE_SECONDS)
                continue
            return self._finish(contents, names)
        raise StorageFailed(
            f"{self._root} changed faster than it could be copied, {_ROUNDS} times over; try again"
        )

    # one moment: catalog and log

    def _moment(self, held: ExitStack) -> tuple[Contents, dict[str, _LogFile]]:
        """The catalog, copied, and the log as it was then, by name of the file."""
        copy = self._staging / "catalog.sqlite"
        copy.unlink(missing_ok=True)
        logs: dict[str, BinaryIO] = {}
        self._hold_log(logs, held)
        catalog = open_catalog(self._root / copy.name, self._meta_uri, read_only=True)
        try:
            catalog.copy_to(copy)
            self._hold_log(logs, held)
            log = {
                name: _LogFile(file, os.fstat(file.fileno()).st_size)
                for name, file in sorted(logs.items())
            }
            after = catalog.contents()
        finally:
            catalog.close()
        contents = self._without_indexes(copy)
        if _defined(contents) != _defined(after):
            raise _Moved
        return contents, log

    def _hold_log(self, logs: dict[str, BinaryIO], held: ExitStack) -> None:
        """Open what there is of the log and is not in `logs`."""
        for path in log_files(self._log):
            if path.name not in logs:
                logs[path.name] = held.enter_context(path.open("rb"))

    def _copy_log(self, logs: Mapping[str, _LogFile], durable_lsn: int) -> None:
        """What was in the files held, up to the last whole record.

        Raises:
            CorruptFile: what is no whole record is not the end of a write, or a file is missing.
        """
        shutil.rmtree(self._staging / "wal", ignore_errors=True)
        make_folder(self._staging / "wal")
        numbers = sorted(int(name.partition(".")[0]) for name in logs)
        if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
            if {path.name for path in log_files(self._log)} == logs.keys():
                raise CorruptFile(
                    f"A file is missing in the middle of the log {self._log}. See `milvine verify`"
                )
            raise _Moved  # one was made and went again
        for name in sorted(logs):
            data = logs[name].file.read(logs[name].size)
            if name == max(logs):
                try:
                    data = data[: whole_records(np.frombuffer(data, np.uint8), durable_lsn)]
                except BadFrame:
                    raise _Moved from None  # its header is being written
            write_file(self._staging / "wal" / name, data)

    def _without_indexes(self, copy: Path) -> Contents:
        catalog = Catalog(copy)
        try:
            if not self._indexes:
                catalog.drop_indexes()
            return catalog.contents()
        finally:
            catalog.close()

    # files of segments

    def _held(self, names: Sequence[str], held: ExitStack) -> dict[str, BinaryIO]:
        """Files of segments, open: as many as may be, for there are others who need some."""
        most = min(_HELD_FILES_MAX, files_to_hold() // _HELD_SHARE)
        return {name: held.enter_context(self._stored.open(name)) for name in names[:most]}

    def _take(self, name: str, file: BinaryIO) -> None:
        """Have a component in the backup, checked."""
        source, target = self._stored.path(name), self._segments.path(name)
        size, mark = _mark(file)
        shared = self._shared(name, size, mark, target)
        if shared is not None:
            self._done[name] = shared
            return
        if not (self._link and _linked(source, target)):
            self._copy(file, name)
            self._written += size
        for finding in examine(self._segments, name).findings:
            raise CorruptFile(
                f"{source} is damaged at byte {finding.offset}: {finding.what}. No backup was made"
            )
        self._done[name] = BackedUp(f"segments/{name}", size, checksum(target), mark)

    def _shared(self, name: str, size: int, mark: int, target: Path) -> BackedUp | None:
        """The same component of the earlier backup under its second name, if it is there as it was
        written.
        """
        before = self._components.get(f"segments/{name}")
        if before is None or self._earlier is None or (before.bytes, before.mark) != (size, mark):
            return None
        old = self._earlier / before.name
        if not (old.is_file() and old.stat().st_size == size and _linked(old, target)):
            return None
        if checksum(target) != before.crc32c:
            target.unlink()  # it has decayed since
            return None
        return before

    def _copy(self, file: BinaryIO, name: str) -> None:
        file.seek(0)
        with self._segments.create(name) as sink:
            while data := file.read(_CHUNK):
                sink.write(data)

    # the end

    def _finish(self, contents: Contents, names: set[str]) -> Manifest:
        for name in set(self._segments.names()) - names:
            self._segments.remove(name)  # taken in a round that came to nothing
        misfit = Fitting.of(contents).misfit
        scan = LogScan(self._staging / "wal", self._staging, contents.durable_lsn, misfit=misfit)
        for _ in scan:
            pass
        for finding in scan.findings:
            if finding.damage:
                raise CorruptFile(f"{finding}. No backup was made: see `milvine repair`")
        write_format(self._staging)  # that of the copied catalog, which was opened
        for path in (self._staging / "FORMAT", self._staging / "catalog.sqlite"):
            write_file(path, path.read_bytes())
        others = tuple(self._others())
        for folder in (self._segments.folder, self._staging):
            sync_folder(folder)
        segments = [record for each in contents.collections for record in each.segments]
        kept = tuple(self._done[name] for name in sorted(names))
        return Manifest(
            folder=str(self._staging),
            made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            source=str(self._root),
            last_lsn=max(scan.last_lsn, contents.durable_lsn),
            collections=len(contents.collections),
            rows=sum(record.rows - record.dead for record in segments),
            log_records=scan.records,
            new_bytes=self._written + sum(file.bytes for file in others),
            files=others + kept,
        )

    def _others(self) -> Iterator[BackedUp]:
        paths = [
            self._staging / "FORMAT",
            self._staging / "catalog.sqlite",
            *sorted((self._staging / "wal").iterdir()),
        ]
        for path in paths:
            name = path.relative_to(self._staging).as_posix()
            yield BackedUp(name, path.stat().st_size, checksum(path))


def _defined(contents: Contents) -> list[object]:
    """What is defined, and what ever was: one that came and went meanwhile has left records in the
    log.
    """
    made = contents.last_collection_id, contents.last_partition_id
    return [
        made,
        *(
            (each.collection.id, each.collection.name, each.partitions)
            for each in contents.collections
        ),
    ]


def _mark(file: BinaryIO) -> tuple[int, int]:
    """Size, and the checksum of the footer, which holds the checksums of all else."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - TRAILER.size, 0))
    trailer = file.read(TRAILER.size)
    return size, TRAILER.unpack(trailer)[1] if len(trailer) == TRAILER.size else 0


def _linked(source: Path, target: Path) -> bool:
    """Give a file a second name; False where the file system cannot, or the file is gone."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
