"""The state machine of `milvine.testing`, its catalog in PostgreSQL. MILVINE_SOAK_EXAMPLES=2000 for
a longer run.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from milvine.testing.configurations import over_postgres
from milvine.testing.postgres import Cluster

EXAMPLES = int(os.environ.get("MILVINE_SOAK_EXAMPLES", "30")) // 10


def test_machine(cluster: Cluster) -> None:
    steps = settings(max_examples=EXAMPLES, stateful_step_count=30)
    run_state_machine_as_test(over_postgres(cluster.uri), settings=steps)
