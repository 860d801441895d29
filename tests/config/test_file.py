"""The file: whatever it holds is read or refused in words, and an edit changes one value and
nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from milvine.config import ALL, default_text
from milvine.errors import IllegalArgument, StorageFailed
from milvine.server.configuration.config_file import (
    edited,
    parse_document,
    read_document,
    set_in_file,
)

TEMPLATE = Path(__file__).with_name("server_config.yaml").read_text()


def value(text: str, section: str, item: str) -> object:
    return parse_document(text, "c").sections[section][item].value


@pytest.mark.parametrize(
    ("section", "item", "new", "old_line", "new_line"),
    [
        ("cache", "cache_size", "8GB", "  cache_size: 4GB", "  cache_size: 8GB"),
        (
            "cache",
            "preload_collection",
            "a,b",
            "  preload_collection:",
            '  preload_collection: "a,b"',
        ),
        (
            "gpu",
            "search_devices",
            ["gpu0", "gpu1"],
            "  search_devices:\n    - gpu0",
            "  search_devices: [gpu0, gpu1]",
        ),
        ("metric", "port", "9092", "  port: 9091", "  port: 9092"),
        ("general", "meta_uri", "*", "  meta_uri: sqlite://:@:/", '  meta_uri: "*"'),
        (
            "gpu",
            "cache_threshold",
            "0.5",
            "    - gpu0\n\n# FPGA",
            "    - gpu0\n  cache_threshold: 0.5\n\n# FPGA",
        ),
        (
            "metric",
            "instance_label",
            "é:1",
            "  port: 9091\n",
            '  port: 9091\n  instance_label: "é:1"\n',
        ),
        (
            "engine_config",
            "simd_type",
            "avx2",
            "9091\n",
            "9091\n\nengine_config:\n  simd_type: avx2\n",
        ),
    ],
)
def test_an_edit_changes_one_value(
    section: str, item: str, new: str | list[str], old_line: str, new_line: str
) -> None:
    expected = TEMPLATE.replace(old_line, new_line, 1)
    assert expected != TEMPLATE
    for newline in ("\n", "\r\n"):
        before, after = TEMPLATE.replace("\n", newline), expected.replace("\n", newline)
        assert edited(before, section, item, new, "c") == after
        assert value(after, section, item) == new


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "cache:\n  cache_size: 8GB\n"),
        ("a: {}", "a: {}\n\ncache:\n  cache_size: 8GB\n"),
        ("cache:\n", "cache:\n  cache_size: 8GB\n"),
        ("cache:", "cache:\n  cache_size: 8GB\n"),
        ("cache: # c\n  cache_size: '4GB'  # four\n", "cache: # c\n  cache_size: 8GB  # four\n"),
        ("cache:\n    x: 1 # last", "cache:\n    x: 1 # last\n    cache_size: 8GB\n"),
        ("cache: {cache_size: 4GB, x: 1}\n", "cache: {cache_size: 8GB, x: 1}\n"),
        ("cache:\n  cache_size : 4GB\n", "cache:\n  cache_size : 8GB\n"),
        ("cache:\n  cache_size:\n  x: 1\n", "cache:\n  cache_size: 8GB\n  x: 1\n"),
        ("cache:\n  cache_size: # none\n", "cache:\n  cache_size: 8GB # none\n"),
        ("cache:\n- cache_size\n", None),
        ("cache: {}\n", None),
        ("a: &x 4GB\ncache: {cache_size: *x}\n", None),
        ("cache:\n  cache_size: &x 4GB\n  other: *x\n", None),
        ("{}\n", None),
    ],
)
def test_unusual_files(text: str, after: str | None) -> None:
    if after is not None:
        assert edited(text, "cache", "cache_size", "8GB", "c") == after
        return
    with pytest.raises(StorageFailed, match=r"Set cache.cache_size by hand"):
        edited(text, "cache", "cache_size", "8GB", "c")


def test_what_is_written_comes_back() -> None:
    text = "gpu:\n"
    for key in ALL[::5]:
        text = edited(text, key.section, key.item, default_text(key), "c")
        assert value(text, key.section, key.item) == default_text(key)
    for new in (
        "1",
        "null",
        "~",
        "# a",
        "'",
        '"',
        "a: b",
        "- a",
        "é",
        "0x1F",
        "yes",
        "*",
        "",
        "sqlite://:@:/",
    ):
        assert (
            value(edited(TEMPLATE, "cache", "cache_size", new, "c"), "cache", "cache_size") == new
        )


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back_or_is_refused(new: str) -> None:
    assert (
        value(
            edited("cache:\n  cache_size: 4GB # x\n", "cache", "cache_size", new, "c"),
            "cache",
            "cache_size",
        )
        == new
    )


def test_the_untouched_file_is_kept_and_modes_and_links_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "server_config.yaml", tmp_path / "link.yaml"
    path.write_text(TEMPLATE)
    path.chmod(0o600)
    link.symlink_to(path)
    set_in_file(link, "cache", "cache_size", "8GB")
    set_in_file(link, "cache", "cache_size", "9GB")
    assert link.is_symlink()
    assert path.read_text() == TEMPLATE.replace("cache_size: 4GB", "cache_size: 9GB")
    assert (tmp_path / "server_config.yaml.ori").read_text() == TEMPLATE
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(IllegalArgument, match=r"Cannot read"):
        set_in_file(tmp_path / "none.yaml", "cache", "cache_size", "1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [1", "is no YAML"), ("- 1", "holds no sections"), ("3", "holds no sections"),
     ("a: 1\n---\nb: 2", "no YAML"),
     ("a: {b: 1, b: 2}", "gives b twice, in lines 1 and 1"),
     ("a:\nb:\na:", "gives a twice, in lines 1 and 3"),
     ("[a]: 1", "no word"), ("a: *x", "is no YAML"), ("[" * 500, "is no YAML"),
     ("\x00", "is no YAML")],
)  # fmt: skip
def test_files_that_are_no_configuration(text: str, reason: str) -> None:
    with pytest.raises(IllegalArgument, match=reason):
        parse_document(text, "c")


def test_large_and_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(IllegalArgument, match=r"no more than"):
        read_document(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IllegalArgument, match=r"is no YAML"):
        read_document(path)
    with pytest.raises(IllegalArgument, match=r"Cannot read"):
        read_document(tmp_path)


_WORDS = (
    "a",
    "version: 0.5",
    "cache",
    "null",
    "!!int ",
    "!t ",
    "%YAML 1.2\n",
    "<<: ",
    "---\n",
    "...\n",
    "|\n",
    ">\n",
)
_SIGNS = (
    ":",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&x ",
    "*x",
    "'",
    '"',
    "# c",
    "? ",
    "~",
    "\t",
    "@",
    "`",
)
_FRAGMENTS = st.sampled_from((*_WORDS, *_SIGNS, "\u2028", "\ufeff"))


@given(st.lists(_FRAGMENTS | st.text(max_size=3), max_size=25).map("".join))
@example("a: {x: &a 1, y: &a 2, z: *a}")
@settings(max_examples=250, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_document(text, "c")
        edited(text, "cache", "cache_size", "8GB", "c")
    except IllegalArgument as error:
        assert str(error).startswith("c ")
    except StorageFailed as error:
        assert "by hand" in str(error)


@pytest.mark.parametrize(
    "text",
    ["general:\n  meta_uri: 'a://u:s3cret@h\n", "general: {a: b://u:s3cret@h: x}", "a: [s3cret"],
)
def test_a_broken_file_is_told_without_what_stands_in_it(text: str) -> None:
    with pytest.raises(IllegalArgument, match=r"^c is no YAML: .* \(line \d\)$") as error:
        parse_document(text, "c")
    assert "s3cret" not in str(error.value)
