"""The database against the model, whatever is done to both."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings

from milvine.testing.stateful import DatabaseMachine


class UnmappedMachine(DatabaseMachine):
    """Files are read into memory, log files are tiny."""

    settings = replace(DatabaseMachine.settings, mmap=False, wal_file_bytes=4096, auto_flush_tail_bytes=1)


TestDatabase = DatabaseMachine.TestCase
TestDatabase.settings = settings(max_examples=30, stateful_step_count=30)
TestUnmapped = UnmappedMachine.TestCase
TestUnmapped.settings = settings(max_examples=10, stateful_step_count=30)
