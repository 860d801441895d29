"""What memory this process may take, from control groups as Linux shows them: version 1, version 2, containers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from milvine import memory
from milvine.memory import group_limit, memory_limit, within

MIB = 1 << 20
NO_LIMIT_1 = "9223372036854771712\n"
V1 = "9:name=systemd:/\n4:memory:/{}\n1:cpu:/elsewhere\n0::/\n"
V2 = "0::/{}\n"


def told(folder: Path, own: str, files: Mapping[str, str]) -> int:
    """The limit where /proc/self/cgroup says `own`, and the hierarchies hold `files`."""
    (folder / "cgroup").write_text(own, encoding="utf-8")
    for name, text in files.items():
        path = folder / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return group_limit(folder / "cgroup", folder / "mounted")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        # version 1: own, above, none
        (V1.format("a/b"), {"memory/a/b/memory.limit_in_bytes": "1000\n"}, 1000),
        (V1.format("a/b"), {"memory/a/b/memory.limit_in_bytes": "1000", "memory/a/memory.limit_in_bytes": "900"}, 900),
        (V1.format("a"), {"memory/a/memory.limit_in_bytes": NO_LIMIT_1, "memory/memory.limit_in_bytes": "7"}, 7),
        (V1.format("a"), {"memory/a/memory.limit_in_bytes": NO_LIMIT_1}, 0),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "5"}, 5),
        # another's group, or another controller's, is nothing to us
        (V1.format("a"), {"memory/b/memory.limit_in_bytes": "5", "cpu/elsewhere/memory.limit_in_bytes": "5"}, 0),
        # version 2: own, above, none, and where it is mounted beside version 1
        (V2.format("a/b"), {"a/b/memory.max": "max\n", "a/memory.max": "2000\n"}, 2000),
        (V2.format("a/b"), {"a/b/memory.max": "3000", "a/memory.max": "4000", "a/memory.high": "2500"}, 2500),
        (V2.format("a"), {"a/memory.max": "max", "a/memory.high": "max"}, 0),
        (V2.format("a"), {"unified/a/memory.max": "77"}, 77),
        # containers: the path is the host's, or leads out of what is mounted; what is mounted is the own group
        (V1.format("docker/0123"), {"memory/memory.limit_in_bytes": "1234"}, 1234),
        (V2.format("system.slice/docker-0123.scope"), {"memory.max": "1234"}, 1234),
        (V2.format("../../other"), {"memory.max": "1234", "other/memory.max": "5"}, 1234),
        ("0::/\n", {"memory.max": "1234"}, 1234),
        # no sense in them
        (V2.format("a"), {"a/memory.max": ""}, 0),
        (V2.format("a"), {"a/memory.max": "-1"}, 0),
        (V2.format("a"), {"a/memory.max": "12 GB"}, 0),
        (V2.format("a"), {"a/memory.max": "0"}, 0),
        (V2.format("a"), {"a/memory.max": "1" * 5000}, 0),
        (V2.format("a"), {"a/memory.max": "\N{SUPERSCRIPT TWO}"}, 0),
        ("", {"memory.max": "1234"}, 0),
        ("nonsense\n:\n0:\n4:memory\n", {"memory.max": "1234"}, 0),
    ],
)
def test_group_limit(tmp_path: Path, own: str, files: Mapping[str, str], limit: int) -> None:
    assert told(tmp_path, own, files) == limit


def test_without_control_groups(tmp_path: Path) -> None:
    assert group_limit(tmp_path / "none", tmp_path) == 0
    (tmp_path / "cgroup").write_bytes(b"0::/\xff\n")
    assert group_limit(tmp_path / "cgroup", tmp_path) == 0
    (tmp_path / "folder").mkdir()
    assert group_limit(tmp_path / "folder", tmp_path) == 0


@pytest.mark.parametrize(
    ("total", "group", "limit"), [(1000, 0, 1000), (1000, 300, 300), (1000, 3000, 1000), (0, 300, 300), (0, 0, 0)]
)
def test_the_least_counts(monkeypatch: pytest.MonkeyPatch, total: int, group: int, limit: int) -> None:
    monkeypatch.setattr(memory, "memory_total", lambda: total)
    monkeypatch.setattr(memory, "group_limit", lambda: group)
    assert memory_limit.__wrapped__() == limit


@pytest.mark.parametrize(("limit", "size"), [(0, 96), (96 * 16, 96), (160, 10), (1 << 40, 96)])
def test_a_part_of_it(monkeypatch: pytest.MonkeyPatch, limit: int, size: int) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    assert within(96, 16) == size
