"""At which level each event is logged. A table alone, so that to know what is a warning costs
nobody the words of one.
"""

from __future__ import annotations

import logging

from milvine import events
from milvine.events import Event
from milvine.events.server import (
    AccessRefused,
    Answered,
    CertificateRefused,
    HttpMissing,
    MetricsMissing,
    OpenToOthers,
    PushFailed,
    RequestFailed,
    TokensRefused,
)

TRACE = 5
"""Below DEBUG, as in 1.x: what is told of every single call."""

LEVELS: dict[type[Event], int] = {
    events.TornTailCut: logging.WARNING,
    events.NetworkFolder: logging.WARNING,
    events.LogMissing: logging.WARNING,
    events.NonfiniteStored: logging.WARNING,
    events.DiskFilled: logging.ERROR,
    events.DiskFreed: logging.WARNING,
    events.WriterEnded: logging.ERROR,
    events.DamageFound: logging.ERROR,
    events.IndexSetAside: logging.WARNING,
    events.BuildStalled: logging.WARNING,
    events.BuildProgressed: logging.DEBUG,
    events.BuildGivenUp: logging.WARNING,
    events.SegmentRefused: logging.ERROR,
    events.LogFailed: logging.ERROR,
    events.JobFailed: logging.ERROR,
    RequestFailed: logging.ERROR,
    PushFailed: logging.WARNING,
    events.LoadedInPart: logging.WARNING,
    HttpMissing: logging.WARNING,
    MetricsMissing: logging.WARNING,
    AccessRefused: logging.WARNING,
    TokensRefused: logging.ERROR,
    OpenToOthers: logging.WARNING,
    CertificateRefused: logging.ERROR,
    events.FilesRemoved: logging.DEBUG,
    events.CatalogCommitted: logging.DEBUG,
    events.Loaded: logging.DEBUG,
    Answered: TRACE,
    events.Inserted: TRACE,
    events.InsertFailed: TRACE,
    events.Searched: TRACE,
    events.GroupCommitted: TRACE,
}
"""Levels that are not INFO."""

LOUD = tuple(kind for kind, level in LEVELS.items() if level >= logging.WARNING)
"""Warnings and worse; no call that goes well tells any of them."""
