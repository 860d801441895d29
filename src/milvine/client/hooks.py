"""Base classes of hooks (specification 5.11). 1.x removed the method that sets one, so none is ever
called.
"""

from __future__ import annotations

from typing import Any


class AbstractHook:
    pass


class BaseSearchHook(AbstractHook):
    """For programs that derive from it."""

    def pre_search(self, *args: Any, **kwargs: Any) -> None:
        """Before a search."""

    def aft_search(self, *args: Any, **kwargs: Any) -> None:
        """After a search."""

    def on_response(self, *args: Any, **kwargs: Any) -> bool:
        """Whether the caller wants the reply as it is."""
        return False

    def handle_response(self, _response: Any) -> Any:
        """The result made of a reply."""
