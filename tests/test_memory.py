"""What memory this process may take, from control groups as Linux shows them: version 1, version 2,
containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from milvine import memory
from milvine.memory import group_limit, memory_left, memory_limit

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
        (
            V1.format("a/b"),
            {"memory/a/b/memory.limit_in_bytes": "1000", "memory/a/memory.limit_in_bytes": "900"},
            900,
        ),
        (
            V1.format("a"),
            {"memory/a/memory.limit_in_bytes": NO_LIMIT_1, "memory/memory.limit_in_bytes": "7"},
            7,
        ),
        (V1.format("a"), {"memory/a/memory.limit_in_bytes": NO_LIMIT_1}, 0),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "5"}, 5),
        # another's group, or another controller's, is nothing to us
        (
            V1.format("a"),
            {"memory/b/memory.limit_in_bytes": "5", "cpu/elsewhere/memory.limit_in_bytes": "5"},
            0,
        ),
        # version 2: own, above, none, and where it is mounted beside version 1
        (V2.format("a/b"), {"a/b/memory.max": "max\n", "a/memory.max": "2000\n"}, 2000),
        (
            V2.format("a/b"),
            {"a/b/memory.max": "3000", "a/memory.max": "4000", "a/memory.high": "2500"},
            2500,
        ),
        (V2.format("a"), {"a/memory.max": "max", "a/memory.high": "max"}, 0),
        (V2.format("a"), {"unified/a/memory.max": "77"}, 77),
        # containers: the path is the host's, or leads out of what is mounted; what is mounted is
        # the own group
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
    ("total", "group", "limit"),
    [(1000, 0, 1000), (1000, 300, 300), (1000, 3000, 1000), (0, 300, 300), (0, 0, 0)],
)
def test_the_least_counts(
    monkeypatch: pytest.MonkeyPatch, total: int, group: int, limit: int
) -> None:
    monkeypatch.setattr(memory, "memory_total", lambda: total)
    monkeypatch.setattr(memory, "group_limit", lambda: group)
    assert memory_limit.__wrapped__() == limit


def left(folder: Path, own: str, files: Mapping[str, str], machine: str = "") -> int:
    (folder / "meminfo").write_text(machine, encoding="utf-8")
    told(folder, own, files)
    return memory_left(folder / "cgroup", folder / "mounted", folder / "meminfo")


STAT_1 = (
    "cache 700\nactive_file 1\nhierarchical_memory_limit 1000\ntotal_inactive_file"
    " 300\ntotal_active_file 200\n"
)
STAT_2 = "anon 300\nfile 700\ninactive_file 300\nactive_file 200\n"


@pytest.mark.parametrize(
    ("own", "files", "machine", "bytes_left"),
    [
        # pages of files give way, those below a group count in it
        (
            V1.format("a"),
            {
                f"memory/a/memory.{n}": t
                for n, t in (
                    ("limit_in_bytes", "1000"),
                    ("usage_in_bytes", "900"),
                    ("stat", STAT_1),
                )
            },
            "",
            600,
        ),
        (
            V2.format("a"),
            {"a/memory.max": "1000", "a/memory.current": "900", "a/memory.stat": STAT_2},
            "",
            600,
        ),
        # the least of the groups, which need not be that with the least limit, and of the machine
        (
            V2.format("a/b"),
            {
                "a/b/memory.max": "900",
                "a/b/memory.current": "10",
                "a/memory.max": "1000",
                "a/memory.current": "950",
            },
            "",
            50,
        ),
        (
            V2.format("a"),
            {"a/memory.max": "9000", "a/memory.current": "10"},
            "MemFree: 1 kB\nMemAvailable:    2 kB\n",
            2048,
        ),
        (
            V2.format("a"),
            {"a/memory.max": "max", "a/memory.current": "10"},
            "MemAvailable: 2 kB\n",
            2048,
        ),
        # nothing is left, nobody says, no sense in it
        (
            V2.format("a"),
            {"a/memory.max": "1000", "a/memory.current": "1200"},
            "MemAvailable: 2 kB\n",
            1,
        ),
        (V2.format("a"), {"a/memory.max": "max"}, "", 0),
        ("", {}, "MemAvailable: much\nMemAvailable: \n", 0),
    ],
)
def test_what_is_left(
    tmp_path: Path, own: str, files: Mapping[str, str], machine: str, bytes_left: int
) -> None:
    assert left(tmp_path, own, files, machine) == bytes_left


def test_here_something_is_left() -> None:
    assert 0 <= memory_left() <= memory_limit()
