"""Files that no segment of the catalog needs: what a crash left behind, or what a catalog that lost
commits forgot.

A flush that was not committed has all its records in the log still, and a merge that was not has
its inputs. Where they are gone, the commit was made, and it is the catalog that is of before.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from milvine.segment.layout import Footer


def forgotten(
    footer: Footer, flushed: Mapping[int, int], missing: Set[int], first_lsn: int | None
) -> str | None:
    """Why an orphan proves that a commit was lost; None when it may go.

    Args:
        flushed: by collection id, the LSN up to which the catalog says it is flushed.
        missing: ids of segments that the catalog names and whose rows file is not there.
        first_lsn: the oldest LSN in the log; None when there is no log.
    """
    for entry in footer["segments"]:
        flushed_lsn = flushed.get(entry["collection"]["id"])
        if flushed_lsn is None:
            continue  # dropped
        first, last = entry.get("lsn_range", (entry.get("lsn", 0),) * 2)
        if first_lsn is not None and last > flushed_lsn and first < first_lsn:
            return (
                f"it holds LSN {last}, which is in the log no more, and the catalog knows of"
                f" {flushed_lsn} only"
            )
        if missing & set(entry.get("replaces", ())):
            return (
                f"it replaced segments {sorted(missing & set(entry['replaces']))}, which the"
                " catalog still names"
            )
    return None
