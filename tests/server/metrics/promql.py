"""Names of metrics and of labels in PromQL, as far as the dashboard and the alert rules use the
language.
"""

from __future__ import annotations

import re

_WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "inf",
}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = _GROUPING.sub(" ", bare)
    found = {m.group() for m in _NAME.finditer(bare) if not _is_other(bare, m)}
    return found - _WORDS


def _is_other(text: str, match: re.Match[str]) -> bool:
    """A function, or the end of a number such as 1e6 or 5m."""
    before = text[match.start() - 1 : match.start()]
    return text[match.end() :].lstrip().startswith("(") or before.isdigit() or before == "."


def selected_labels(expression: str) -> set[tuple[str, str]]:
    """(metric, label) of every selector."""
    selectors = re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}", expression)
    return {
        (name, label)
        for name, inside in selectors
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)
    }
