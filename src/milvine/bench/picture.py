"""Recall against queries per second as an SVG, drawn by hand: one panel for each data set and index
kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

Point = tuple[float, float]
_COLOURS = (
    "#222222",
    "#0b6e4f",
    "#1f5fbf",
    "#c2410c",
    "#7c3aed",
    "#b45309",
    "#0e7490",
    "#be185d",
    "#4d7c0f",
    "#64748b",
)
_WIDE, _HIGH, _LEFT, _TOP, _BELOW, _GAP = 420, 300, 58, 42, 44, 24


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Point]]]:
    """(recall, queries per second) of one client, by panel title and contender."""
    panels: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        single = row["what"] == "curve" or (row["what"] == "search" and row["clients"] == 1)
        if single and row["kind"] != "exact":
            panel = panels.setdefault(f"{row['data']}, {row['kind']}", {})
            panel.setdefault(row["contender"], []).append((row["recall"], row["rate"]))
    return {
        title: {name: sorted(points) for name, points in lines.items()}
        for title, lines in panels.items()
    }


_DARK = (
    "@media(prefers-color-scheme:dark){svg{fill:#e6e6e6}rect{fill:#16181c}"
    "path{stroke:#3a3f46}[stroke='#222222']{stroke:#e6e6e6}[fill='#222222']{fill:#e6e6e6}}"
)
"""What differs where the reader's page is dark: ground, words, grid and the darkest line."""


def draw(rows: Sequence[Mapping[str, Any]], across: str = "recall@10") -> str:
    """The picture, for light and dark pages; an empty one when nothing was measured that it could
    show. `across` names its horizontal axis.
    """
    panels = curves(rows)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    columns = min(2, max(1, len(panels)))
    lines_of_panels = math.ceil(len(panels) / columns)
    width = columns * (_WIDE + _GAP) + _GAP
    legend = 26 + 18 * math.ceil(len(names) / 4)
    parts = [_legend(names, colours)]
    for number, (title, lines) in enumerate(panels.items()):
        x, y = (
            _GAP + (number % columns) * (_WIDE + _GAP),
            legend + (number // columns) * (_HIGH + _GAP),
        )
        parts.append(
            f'<g transform="translate({x} {y})">{_panel(title, lines, colours, across)}</g>'
        )
    height = legend + lines_of_panels * (_HIGH + _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="sans-serif" font-size="12"><style>{_DARK}</style><rect'
        f' width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _legend(names: Sequence[str], colours: Mapping[str, str]) -> str:
    parts = []
    for number, name in enumerate(names):
        x, y = _GAP + 215 * (number % 4), 20 + 18 * (number // 4)
        parts.append(
            f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colours[name]}"/>{_text(x + 10, y, name)}'
        )
    return "".join(parts)


def _panel(
    title: str, lines: Mapping[str, Sequence[Point]], colours: Mapping[str, str], across: str
) -> str:
    """Recall on a linear axis, rate on a logarithmic one, with the title and what the axes are."""
    every = [point for points in lines.values() for point in points]
    low = math.floor(20 * min(recall for recall, _ in every)) / 20
    low = min(low, 0.95)
    bottom, top = (math.log10(pick(rate for _, rate in every)) for pick in (min, max))
    bottom, top = math.floor(2 * bottom) / 2, math.ceil(2 * top) / 2
    inner_wide, inner_high = _WIDE - _LEFT - 10, _HIGH - _TOP - _BELOW

    def position(point: Point) -> Point:
        recall, rate = point
        across = (recall - low) / (1 - low)
        up = (math.log10(rate) - bottom) / max(top - bottom, 0.5)
        return round(_LEFT + across * inner_wide, 1), round(_TOP + (1 - up) * inner_high, 1)

    parts = [_text(_LEFT, 18, title, "font-weight='bold'"), _text(4, 34, "queries/s, one client")]
    parts.append(_text(_WIDE - 70, _HIGH - 8, across))
    for number in range(5):
        recall = low + (1 - low) * number / 4
        x = position((recall, 10**bottom))[0]
        parts.append(f'<path d="M{x} {_TOP}V{_HIGH - _BELOW}" stroke="#dddddd"/>')
        parts.append(_text(x, _HIGH - _BELOW + 16, f"{recall:.3g}", "text-anchor='middle'"))
    for rate in _ticks(bottom, top):
        y = position((low, rate))[1]
        parts.append(f'<path d="M{_LEFT} {y}H{_WIDE - 10}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{rate:,.0f}", "text-anchor='end'"))
    parts += [
        _line([position(point) for point in points], colours[name])
        for name, points in lines.items()
    ]
    return "".join(parts)


def _ticks(bottom: float, top: float) -> list[float]:
    """1, 2 and 5 of each power of ten between two logarithms."""
    powers = range(math.floor(bottom), math.ceil(top) + 1)
    every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [rate for rate in every if bottom - 1e-9 <= math.log10(rate) <= top + 1e-9]


def _line(points: Sequence[Point], colour: str) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" {more}>{escape(text)}</text>'
