"""Nasty bytes, texts, numbers and JSON values, from a `Random`."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

INTEGERS = (
    *(
        0,
        1,
        -1,
        2,
        7,
        8,
        9,
        127,
        128,
        255,
        256,
        1000,
        4096,
        16384,
        16385,
        32768,
        32769,
        65536,
        999_999,
        1_000_000,
    ),
    *(
        (1 << 31) - 1,
        1 << 31,
        -(1 << 31),
        (1 << 32) - 1,
        1 << 32,
        (1 << 53) + 1,
        (1 << 63) - 1,
        -(1 << 63),
    ),
)
FLOATS = (
    0.0,
    -0.0,
    0.5,
    1e-45,
    3.5e38,
    1e308,
    -1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    16.9,
)
NAMES = (
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "a\0b",
        "\0",
        "a\nb",
        "\r\n",
    ),
    *(
        "c",
        "C",
        "_",
        "_default",
        " _default ",
        "1c",
        "c d",
        "c-d",
        "é",
        "数据",
        "\u202eabc",
        "\u200b",
        "\ufeffc",
        "e\u0301",
    ),
    *(
        "a" * 255,
        "a" * 256,
        "é" * 127,
        "é" * 128,
        "'; DROP TABLE collections; --",
        "%s%n",
        "%00",
        "${x}",
        "{}",
        "<b>",
        "💥",
    ),
    *(
        "x" * 70_000,
        "*",
        ".*",
        "[",
        "(",
        "(a+)+b",
        "(a|a)*b",
        "(?!a).*",
        "a{1,999}",
        "((a{1000}){1000}){1000}",
        "$",
        "^",
    ),
)


def some_bytes(random: Random, most: int = 200) -> bytes:
    return random.randbytes(random.choice((0, 1, 2, 8, random.randint(0, most))))


def integer(random: Random, bits: int = 64) -> int:
    """Signed, of at most `bits` bits."""
    value = (
        random.choice(INTEGERS)
        if random.random() < 0.8
        else random.getrandbits(random.randint(1, 64)) - (1 << 62)
    )
    value += random.choice((0, 0, 0, 1, -1))
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half


def text(random: Random) -> str:
    """Unicode without surrogates, which no wire can carry."""
    pick = random.random()
    if pick < 0.75:
        return random.choice(NAMES)
    if pick < 0.9:
        return "".join(
            chr(random.choice((random.randrange(32, 127), random.randrange(1, 0xD7FF))))
            for _ in range(8)
        )
    return random.choice(NAMES)[:300] + random.choice(NAMES)[:300]


def json_value(random: Random, depth: int = 3) -> Any:
    """Any value that JSON of Python's can say, NaN included."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return random.choice((None, True, False))
    if kind in (1, 2):
        return random.choice((integer(random), 1 << 64, -(1 << 70), 10**400))
    if kind == 3:
        return random.choice(FLOATS)
    if kind == 4:
        return text(random)[:300]
    if kind in (5, 6):
        return [json_value(random, depth - 1) for _ in range(random.randint(0, 4))]
    return {text(random)[:40]: json_value(random, depth - 1) for _ in range(random.randint(0, 3))}


def json_text(random: Random, value: Any) -> str:
    """`value` as JSON text, now and then with what JSON does not allow, or nested far too deep."""
    pick = random.random()
    said = json.dumps(value, ensure_ascii=random.random() < 0.5)
    if pick < 0.7:
        return said
    if pick < 0.8:
        depth = random.choice((90, 500, 995, 100_000))
        opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
        nested = opening * depth + "1" + closing * random.choice((depth, 0))
        return random.choice((nested, f'{{"nprobe":16,"x":{nested}}}'))
    if pick < 0.85:
        return random.choice(
            (
                "9" * 5000,
                "1e999999",
                "-",
                "NaN",
                '{"nprobe":Infinity}',
                '{"nprobe":1,"nprobe":2}',
                "\ufeff{}",
            )
        )
    return mutated(random, said.encode()).decode("utf-8", "replace")


def mutated(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to four things done to it."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        changed = _mutate_once(random, changed, others)
    return bytes(changed)


def _mutate_once(random: Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    kind = random.randrange(8)
    if kind == 0 and data:
        data[min(at, len(data) - 1)] ^= 1 << random.randrange(8)
    elif kind == 1 and data:
        data[min(at, len(data) - 1)] = random.choice(
            (0, 1, 0x7F, 0x80, 0xFF, random.randrange(256))
        )
    elif kind == 2:
        del data[at : min(end, at + random.choice((1, 8, 64, 1 << 20)))]
    elif kind == 3:
        data[at:at] = some_bytes(random)
    elif kind == 4:
        number = lying(random)
        data[at : at + len(number)] = number
    elif kind == 5:
        data[at:at] = data[at : min(end, at + 4096)]
    elif kind == 6:
        del data[at:]
    elif others:
        other = random.choice(others)
        data[at:] = other[random.randint(0, len(other)) :]
    return data


def lying(random: Random) -> bytes:
    """A number as lengths are written: little or big endian, or a varint."""
    value = integer(random) & (1 << 64) - 1
    kind = random.randrange(4)
    if kind == 0:
        return struct.pack("<I", value & 0xFFFFFFFF)
    if kind < 3:
        return struct.pack("<Q" if kind == 1 else ">Q", value)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
