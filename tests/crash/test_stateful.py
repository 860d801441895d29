"""The database against the model, whatever is done to both. MILVINE_SOAK_EXAMPLES=2000 for a longer
run.
"""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import settings

from milvine.testing.stateful import DatabaseMachine

EXAMPLES = int(os.environ.get("MILVINE_SOAK_EXAMPLES", "30"))


class UnmappedMachine(DatabaseMachine):
    """Files are read into memory, log files are tiny."""

    settings = replace(
        DatabaseMachine.settings, mmap=False, wal_file_bytes=4096, auto_flush_tail_bytes=1
    )


class LogElsewhereMachine(DatabaseMachine):
    log_elsewhere = True


TestDatabase = DatabaseMachine.TestCase
TestDatabase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
TestUnmapped = UnmappedMachine.TestCase
TestUnmapped.settings = settings(max_examples=EXAMPLES // 3, stateful_step_count=30)
TestLogElsewhere = LogElsewhereMachine.TestCase
TestLogElsewhere.settings = settings(max_examples=EXAMPLES // 3, stateful_step_count=30)
