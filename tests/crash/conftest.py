"""The compiled tracer, once per run. In CI a missing compiler is a failure, elsewhere a reason to
skip.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from milvine.testing.crash.trace import TracerUnavailable, compile_tracer


@pytest.fixture(scope="session")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_tracer(tmp_path_factory.mktemp("tracer"))
    except TracerUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
