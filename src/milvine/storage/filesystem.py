"""What kind of file system a folder lies on, where the system tells."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    "nfs4?|cifs|smb3|smbfs|ncpfs|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|orangefs|pvfs2|ocfs2|gfs2|virtiofs|vboxsf|"
    "fuse[.](sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|mount-s3|juicefs|davfs)"
)
"""Here a lock may not be seen by other machines, and a sync may end before the bytes are on a disk.
"""


def network_kind(folder: Path, mounts: Path | None = None) -> str:
    """The kind of network file system under `folder`, as `nfs4`; empty for a local one, or where
    nobody knows.
    """
    try:
        lines = (mounts or _MOUNTS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""  # not Linux
    kind = _kinds(lines, os.path.realpath(folder))
    return kind if _NETWORK.fullmatch(kind) else ""


def _kinds(lines: list[str], path: str) -> str:
    """The kind of the deepest mount above `path`; of several at one place the last, which covers
    the others.
    """
    deepest, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        at = fields[4].encode().decode("unicode_escape")  # a space is \040
        if (path == at or path.startswith(at.rstrip("/") + "/")) and len(at) >= deepest:
            deepest, kind = len(at), after.split(" ")[0]
    return kind
