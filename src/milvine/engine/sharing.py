"""Exact searches of one query that ask alike: while a pass is under way on every core, those that
wait share the next.

Such a search spends its time reading rows from memory, so one pass for several costs little more
than for one. Nobody waits while a core is free, and searches that do not ask alike never wait for
each other. Searches of an index do not take part: they are over sooner than a thread is put to
sleep and woken.

A member that waits gets one message by its mailbox: its answer, that it leads the next pass, or
that it is to search alone, as it does when the pass that it was in failed. So a failure is raised
by each search that meets it, and others are answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import Enum
from queue import SimpleQueue
from typing import TypeAlias

from milvine.interrupts import foreign
from milvine.search import batching
from milvine.search.prepared import PreparedSearch
from milvine.search.stopwatch import Stopwatch
from milvine.types import Hits, Query

PASS_QUERIES_MAX = 8
"""Queries of one pass: the last to be answered waits for all of them."""


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of one search, how it was prepared, and its watch where somebody wants to know."""

    prepared: PreparedSearch
    hits: Hits
    watch: Stopwatch | None

    def of(self, row: int) -> Found:
        """That of one query of several."""
        return replace(self, hits=batching.hits_of(self.hits, row))


Find: TypeAlias = Callable[[Query], Found]
"""Searches the version that is current when it is called."""


class _Turn(Enum):
    LEAD = 1
    ALONE = 2


class _Member:
    """One search. `leads` changes under the lock; `company` are those of its pass that have no
    answer yet.
    """

    __slots__ = ("company", "leads", "mail", "query")

    def __init__(self, query: Query) -> None:
        self.query, self.leads = query, False
        self.company: list[_Member] = []
        self.mail: SimpleQueue[Found | _Turn] = SimpleQueue()


class _Group:
    """Searches that ask alike: how many passes are under way, and who waits. Kept while there are
    any.
    """

    __slots__ = ("passes", "waiting")

    def __init__(self) -> None:
        self.passes = 0
        self.waiting: list[_Member] = []


class SharedScans:
    """At most `passes` at once of those that ask alike.

    An interrupt at any moment of a member leaves nobody else without an answer; two within one
    member may.
    """

    def __init__(self, passes: int) -> None:
        self._passes_max = max(passes, 1)
        self._lock = threading.Lock()
        self._groups: dict[Hashable, _Group] = {}

    @property
    def waiting(self) -> int:
        """How many searches wait for a pass."""
        return sum(len(group.waiting) for group in tuple(self._groups.values()))

    @property
    def passes(self) -> int:
        """How many passes are under way."""
        return sum(group.passes for group in tuple(self._groups.values()))

    def search(self, collection: Hashable, query: Query, find: Find) -> Found:
        """As `find` of one query; those of the same `collection` may share a pass. Whatever was
        acknowledged before the call is seen.

        Raises:
            Whatever `find` raises.
        """
        ask = batching.ask_key(query.vectors, query.k, query.tags, repr(query.params))
        key = (collection, ask)
        member = _Member(query)
        try:
            if not self._enter(key, member):
                message = member.mail.get()
                if isinstance(message, Found):
                    return message
                if message is _Turn.ALONE:
                    return find(query)
            return self._lead(key, member, find)
        finally:
            try:
                self._leave(key, member)
            except BaseException:  # interrupted: what was done is not done twice
                self._leave(key, member)
                raise

    def _enter(self, key: Hashable, member: _Member) -> bool:
        """Whether the member leads a pass; else it waits."""
        with self._lock:
            group = self._groups.setdefault(key, _Group())
            if group.passes < self._passes_max:
                group.passes += 1
                member.leads = True
                return True
            group.waiting.append(member)
            return False

    def _lead(self, key: Hashable, member: _Member, find: Find) -> Found:
        with self._lock:  # who is taken here came before the version that is read below
            waiting = self._groups[key].waiting
            member.company = waiting[: PASS_QUERIES_MAX - 1]
            del waiting[: PASS_QUERIES_MAX - 1]
        if not member.company:
            return find(member.query)
        vectors = batching.joined([each.query.vectors for each in (member, *member.company)])
        try:
            found = find(member.query._replace(vectors=vectors))
        except Exception as error:
            _dismiss(member)
            if foreign(error):
                raise
            return find(member.query)
        for row, each in enumerate(member.company, 1):
            each.mail.put(found.of(row))
        member.company = []
        return found.of(0)

    def _leave(self, key: Hashable, member: _Member) -> None:
        """Hand on what the member still has: its pass, its place among those that wait, its
        company.
        """
        _dismiss(member)
        with self._lock:
            group = self._groups.get(key)
            if group is None:
                return
            if member.leads and group.waiting:
                heir = group.waiting[0]
                del group.waiting[0]
                heir.leads, member.leads = True, False
                heir.mail.put(_Turn.LEAD)
            elif member.leads:
                group.passes -= 1
                member.leads = False
                if not group.passes:
                    del self._groups[key]
            elif member in group.waiting:
                group.waiting.remove(member)


def _dismiss(member: _Member) -> None:
    """Those of its pass that have no answer search alone. A second message does no harm."""
    for each in member.company:
        each.mail.put(_Turn.ALONE)
    member.company = []
