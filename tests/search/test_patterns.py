"""Tag patterns from outside: what they match, and that none of them takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.errors import IllegalPartition
from milvine.search.patterns import PatternClock, matcher

LONG = "a" * 255


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("2020-.*", ["2020-01"], ["12020-01", "2020"]),
        ("tag0[1-3]|x", ["tag02", "x"], ["tag021", "tag04", "xx"]),
        ("^a.c$", ["abc", "aßc"], ["ac", "abcd"]),
        ("(?!draft_).*", ["final", "a_draft_"], ["draft_", "draft_1"]),
        ("^(?!a|b)(?=.*z).+", ["cz", "xzx"], ["az", "c", "b"]),
        (r"(?![)(])\w+", ["abc"], ["(", "a)"]),
        (r"(?!\)).+", ["a"], [")a"]),
        ("ü+", ["üü"], ["u"]),
    ],
)
def test_whole_tags_match(pattern: str, matching: list[str], others: list[str]) -> None:
    matches = matcher(pattern)
    assert [tag for tag in matching + others if matches(tag)] == matching
    assert [tag for tag in matching + others if re.fullmatch(pattern, tag)] == matching


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "[a",
            "(",
            "a**",
            r"(a)\1",
            "a(?=b)b",
            "(?<=a)b",
            "(?=a)a|b",
            "(?!a",
            r"\xZZ",
            r"\N{nope}",
            r"\p{Nope}",
        ),
        *("a{1,100000}", "((a{1000}){1000}){1000}", "(?R)", "a?" * 3000, "\ud800"),
    ],
    ids=lambda pattern: ascii(pattern[:20]),
)
def test_what_is_not_taken_is_refused(pattern: str) -> None:
    with pytest.raises(IllegalPartition, match="^Invalid partition tag pattern: ") as caught:
        matcher(pattern)
    assert caught.value.message.encode()


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+b",
            "(a|a)*b",
            "(a|aa)+b",
            "(.*)(.*)(.*)(.*)b",
            "(?:a?){200}a{200}b",
            "(((a?){30}){30})b",
        ),
        *(".*" * 120 + "b", "(?!(a+)+b)(a+)+b", "[ab]*a[ab]{90}c"),
    ],
)
def test_patterns_that_ruin_a_backtracking_matcher_are_matched_at_once(pattern: str) -> None:
    began = time.process_time()
    for number in range(30):
        assert not matcher(pattern)(LONG[:-2] + f"{number:02d}")
    assert time.process_time() - began < 5


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milvine.search.patterns.SECONDS_MAX", -1)
    with pytest.raises(
        IllegalPartition, match="^Invalid partition tag pattern: a.*b. It takes more than"
    ):
        PatternClock().check("a.*b")


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="ab|().*+?[]^$\\{},1=!:-", max_size=24), st.text(alphabet="ab1-", max_size=8)
)
def test_any_text_is_a_pattern_or_refused(pattern: str, tag: str) -> None:
    try:
        assert matcher(pattern)(tag) in (True, False)
    except IllegalPartition as error:
        assert error.message.startswith("Invalid partition tag pattern: ")
