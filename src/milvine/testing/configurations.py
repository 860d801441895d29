"""The state machine of `stateful` under settings that change: every reopening and every crash may
bring other ones.

The answers must not depend on them, nor on what was written under which.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from milvine.catalog.postgres import PostgresCatalog
from milvine.config import Settings
from milvine.maintenance.worker import maintain
from milvine.testing.stateful import DatabaseMachine
from milvine.testing.strategies import names, seeds

_PLAIN = DatabaseMachine.settings
WAYS: dict[str, Settings] = {
    "plain": _PLAIN,
    "tiny buffer": replace(_PLAIN, insert_buffer_size=1024),
    "tiny log files": replace(_PLAIN, wal_file_bytes=1024, wal_buffer_size=64 << 20),
    "log not synced": replace(_PLAIN, wal_sync=False),
    "no log": replace(_PLAIN, wal_enable=False),
    "in memory": replace(_PLAIN, mmap=False, open_files_max=1, cache_size=1 << 24),
    "one file open": replace(_PLAIN, open_files_max=1),
    "everything indexed": replace(_PLAIN, index_rows_min=8, unindexed_rows_max=0),
    "one thread": replace(_PLAIN, search_threads=1, build_threads=1),
    "kept in memory": replace(_PLAIN, cache_insert_data=True, index_rows_min=64),
    "background": replace(
        _PLAIN, background=True, auto_flush_interval=0.01, auto_flush_tail_bytes=1,
        file_cleanup_timeout=0,
        index_rows_min=64, unindexed_rows_max=16,
    ),
    "lazy background": replace(_PLAIN, background=True, auto_flush_interval=0.05,
        auto_flush_tail_age=0.2),
}  # fmt: skip
"""Name -> settings under which all answers must be the same."""

ways = st.sampled_from(sorted(WAYS))


class ConfiguredMachine(DatabaseMachine):
    """Begins under the settings of `DatabaseMachine` and goes on under others."""

    way = "plain"

    def _use(self, way: str) -> None:
        uri = self.settings.meta_uri
        self.way, self.settings = way, replace(WAYS[way], meta_uri=uri)  # type: ignore[misc]

    @rule(way=ways)
    def reopen_otherwise(self, way: str) -> None:
        self.db.close()
        self._use(way)
        self.db = self.opened()

    @rule(way=ways)
    def crash_otherwise(self, way: str) -> None:
        """A folder that background threads write to cannot be copied as a whole, and without a log
        rows are lost.
        """
        if self.settings.background or not self.settings.wal_enable:
            self.reopen_otherwise(way)
            return
        self._use(way)
        super().crash()

    @rule()
    def crash(self) -> None:
        self.crash_otherwise(self.way)

    @rule(name=names)
    def maintain(self, name: str) -> None:
        """What the background would do: merges, builds."""
        if self.model.has_collection(name) and not self.settings.background:
            state = self.db.collection(name).state
            while maintain(self.db.stores, state, resuming=True):
                pass

    @rule(name=names, k=st.sampled_from([1, 10, 100]), part=st.sampled_from([0, 0.3]), seed=seeds)
    def segments(self, name: str, k: int, part: float, seed: int) -> None:
        """Not where a merge may replace the segments meanwhile."""
        if not self.settings.background:
            super().segments(name, k, part, seed)


def over_postgres(uri: str) -> type[ConfiguredMachine]:
    """The same with the catalog in a PostgreSQL database (`general.meta_uri`)."""

    class PostgresMachine(ConfiguredMachine):
        settings = replace(_PLAIN, meta_uri=uri)

        def lose_catalog(self) -> None:
            catalog = self.db.stores.catalog
            assert isinstance(catalog, PostgresCatalog)
            catalog._folder_id = "0" * 32  # it connects no more
            catalog.close()

    return PostgresMachine
