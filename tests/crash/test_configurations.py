"""The same answers under every configuration. MILVINE_SOAK_EXAMPLES=2000 for a longer run."""

from __future__ import annotations

import os

from hypothesis import settings

from milvine.testing.configurations import ConfiguredMachine

EXAMPLES = int(os.environ.get("MILVINE_SOAK_EXAMPLES", "30")) // 5

TestConfigurations = ConfiguredMachine.TestCase
TestConfigurations.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
