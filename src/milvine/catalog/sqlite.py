"""SQLite itself, below what a catalog stores: how its file is opened, copied and made whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from sqlite3 import Error as SQLiteError
from sqlite3 import connect
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from milvine.catalog.tables import COLLECTIONS
from milvine.errors import CatalogFailed


def engine_of(path: Path, read_only: bool) -> Engine:
    """One connection to the file, for whatever thread asks. Its commits are durable."""
    where = f"file:{path}?mode=ro&uri=true" if read_only else str(path)
    engine = create_engine(
        f"sqlite:///{where}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 30},
    )
    event.listen(engine, "connect", _read_pragmas if read_only else _durable_pragmas)
    if read_only:  # several reads of one transaction see one state, whoever writes meanwhile
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _durable_pragmas(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _read_pragmas(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver would begin no transaction for reads
    connection.execute("PRAGMA query_only=ON")


def files_of(path: Path) -> tuple[Path, Path]:
    """Both files in which commits are."""
    return path, path.with_name(path.name + "-wal")


def copy(engine: Engine, path: Path) -> None:
    """Write what is stored at this moment into a new file, while others change it.

    Raises:
        CatalogFailed: SQLite refuses.
    """
    connection = engine.raw_connection()
    try:
        with closing(connect(path)) as target:
            connection.driver_connection.backup(target)  # type: ignore[union-attr]
    except SQLiteError as error:
        raise CatalogFailed(f"The catalog cannot be copied: {error}") from error
    finally:
        connection.close()


def is_there(path: Path) -> bool:
    """Whether a catalog was ever made here: a file without tables, as is left when its content is
    lost, is none.
    """
    if not path.exists():
        return False
    try:
        with closing(connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(
                connection.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = ?", (COLLECTIONS.name,)
                ).fetchone()
            )
    except SQLiteError:
        return True  # damaged: opening it says how


def checkpoint(path: Path) -> None:
    """Bring everything that the `-wal` beside a catalog holds into its file,
    durably: it may go then.

    Raises:
        CatalogFailed: SQLite refuses.
    """
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except SQLiteError as error:
        raise CatalogFailed(f"The catalog {path} cannot be written: {error}") from error
