"""What each role may do: one table for gRPC, one for HTTP. A test demands an entry for every rpc
and every route.
"""

from __future__ import annotations

from enum import IntEnum

from milvine.wire.health import CHECK, WATCH
from milvine.wire.packed import Malformed, parse
from milvine.wire.schema import HYBRID_RPCS, Command


class Role(IntEnum):
    """Each may do what the ones before it may. `OPEN` is nobody's: what it may do needs no
    token.
    """

    OPEN = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


GIVEN = (Role.READ, Role.WRITE, Role.ADMIN)
"""Roles that a token can have."""

RPCS: dict[str, Role] = {
    CHECK: Role.OPEN,
    WATCH: Role.OPEN,
    "HasCollection": Role.READ,
    "DescribeCollection": Role.READ,
    "CountCollection": Role.READ,
    "ShowCollections": Role.READ,
    "ShowCollectionInfo": Role.READ,
    "DescribeIndex": Role.READ,
    "HasPartition": Role.READ,
    "ShowPartitions": Role.READ,
    "GetVectorsByID": Role.READ,
    "GetVectorIDs": Role.READ,
    "Search": Role.READ,
    "SearchByID": Role.READ,
    "SearchInFiles": Role.READ,
    "Cmd": Role.READ,  # and ADMIN for some commands, see `role_of`
    "CreateCollection": Role.WRITE,
    "CreateIndex": Role.WRITE,
    "DropIndex": Role.WRITE,
    "CreatePartition": Role.WRITE,
    "DropPartition": Role.WRITE,
    "Insert": Role.WRITE,
    "DeleteByID": Role.WRITE,
    "PreloadCollection": Role.WRITE,
    "ReleaseCollection": Role.WRITE,
    "ReloadSegments": Role.WRITE,
    "Flush": Role.WRITE,
    "Compact": Role.WRITE,
    "DropCollection": Role.ADMIN,
} | dict.fromkeys(HYBRID_RPCS, Role.READ)  # declared and refused
"""Rpc, as doors name it -> who may call it."""

_COLLECTION = "/collections/{collection_name}"
ROUTES: dict[tuple[str, str], Role] = {
    ("GET", "/healthz"): Role.OPEN,
    ("GET", "/readyz"): Role.OPEN,
    # They say what every copy of Milvine says; `network.http.docs` turns them off.
    ("GET", "/docs"): Role.OPEN,
    ("GET", "/docs/oauth2-redirect"): Role.OPEN,
    ("GET", "/redoc"): Role.OPEN,
    ("GET", "/openapi.json"): Role.OPEN,
    ("GET", "/"): Role.READ,
    ("GET", "/state"): Role.READ,
    ("GET", "/devices"): Role.READ,
    ("GET", "/metrics"): Role.READ,
    ("GET", "/system/{info}"): Role.READ,  # and ADMIN for some commands, see `role_of`
    ("GET", "/collections"): Role.READ,
    ("GET", _COLLECTION): Role.READ,
    ("GET", _COLLECTION + "/indexes"): Role.READ,
    ("GET", _COLLECTION + "/indexes/progress"): Role.READ,
    ("GET", _COLLECTION + "/indexes/recall"): Role.READ,
    ("GET", _COLLECTION + "/partitions"): Role.READ,
    ("GET", _COLLECTION + "/segments"): Role.READ,
    ("GET", _COLLECTION + "/segments/{segment_name}/ids"): Role.READ,
    ("GET", _COLLECTION + "/segments/{segment_name}/vectors"): Role.READ,
    ("GET", _COLLECTION + "/segments/{segment_name}/{other}"): Role.READ,
    ("GET", _COLLECTION + "/vectors"): Role.READ,
    # A search; the endpoint demands WRITE for a delete.
    ("PUT", _COLLECTION + "/vectors"): Role.READ,
    ("POST", _COLLECTION + "/explain"): Role.READ,
    ("PUT", "/system/{other}"): Role.READ,  # an error for whoever may ask
    ("PUT", "/system/task"): Role.WRITE,
    ("POST", "/collections"): Role.WRITE,
    ("POST", _COLLECTION + "/indexes"): Role.WRITE,
    ("DELETE", _COLLECTION + "/indexes"): Role.WRITE,
    ("POST", _COLLECTION + "/partitions"): Role.WRITE,
    ("DELETE", _COLLECTION + "/partitions"): Role.WRITE,
    ("POST", _COLLECTION + "/vectors"): Role.WRITE,
    ("DELETE", _COLLECTION): Role.ADMIN,
    ("GET", "/config/advanced"): Role.ADMIN,
    ("PUT", "/config/advanced"): Role.ADMIN,
    ("GET", "/system/config"): Role.ADMIN,
    ("PUT", "/system/config"): Role.ADMIN,
}
"""Method and path, as the router writes it -> who may ask. What is not here is for ADMIN."""

_OF_ADMINS = ("get_config", "set_config")


def role_of_command(text: str) -> Role:
    """Who may give a command: those about the configuration are an administrator's, for it tells of
    paths and hosts.
    """
    return Role.ADMIN if text.startswith(_OF_ADMINS) else Role.READ


def role_of(rpc: str, request: bytes) -> Role:
    """Who may make this request: that of its rpc, or of its command."""
    role = RPCS.get(rpc, Role.ADMIN)
    if rpc != "Cmd":
        return role
    try:
        return max(role, role_of_command(parse(Command, request).cmd))
    except Malformed:
        return role  # the operations refuse it
