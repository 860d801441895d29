from __future__ import annotations

import shutil
from copy import deepcopy

import pytest

from milvine.testing.offline import make_sample


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """A database as a killed process leaves it, and the model of what is in it. Copied, never
    changed.
    """
    root = tmp_path_factory.mktemp("sample") / "db"
    return root, make_sample(root)


@pytest.fixture
def sample(killed, tmp_path):
    root, model = killed
    shutil.copytree(root, tmp_path / "db")
    return tmp_path / "db", deepcopy(model)
