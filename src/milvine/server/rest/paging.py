"""Pages of a list, by the query parameters offset, page_size and all_required
(specification 4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import WithJsonSchema

from milvine.server.rest.errors import IllegalQuery

T = TypeVar("T")
_INT64_MAX = (1 << 63) - 1
_PAGE_SIZE = 10
_BOOL_WORDS = {"true", "false", "on", "off", "yes", "no", "1", "0"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": _INT64_MAX}

Offset = Annotated[
    str,
    WithJsonSchema({**_NUMBER, "default": 0}),
    Query(description="How many to leave out at the front."),
]
PageSize = Annotated[
    str,
    WithJsonSchema({**_NUMBER, "default": _PAGE_SIZE}),
    Query(description="How many at most; 0 is legal and gives the count alone."),
]
AllRequired = Annotated[
    str,
    WithJsonSchema({"type": "string", "default": "false", "enum": ["true", "True", "false"]}),
    Query(description="`true` or `True`: all of them, offset and page_size are ignored."),
]


@dataclass(frozen=True, slots=True)
class Page:
    offset: int
    size: int
    all: bool = False

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this page; none beyond the end."""
        return items if self.all else items[self.offset : self.offset + self.size]


def page(offset: str, page_size: str, all_required: str = "", strict: bool = True) -> Page:
    """The page that the parameters ask for; an empty one is an absent one.

    Raises:
        IllegalQuery: a number is none, or out of range; all_required is no word for a bool, where
            that matters.
    """
    everything = all_required in ("true", "True")
    if strict and all_required and all_required.lower() not in _BOOL_WORDS:
        raise IllegalQuery(
            "Query param 'all_required' is illegal, only bool type supported. Value was"
            f" '{all_required}'"
        )
    return Page(_number(offset, 0), _number(page_size, _PAGE_SIZE), everything)


def _number(text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _INT64_MAX:
        raise IllegalQuery("Query param 'offset' is illegal, only non-negative integer supported")
    return int(text)
