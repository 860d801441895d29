#!/usr/bin/env bash
# SQLite in WAL mode: the file sizes and times of a database are those of a commit before any reader can see it.
#
# A commit appends its frames to `-wal`, the last one marked as a commit, and only then writes the index in `-shm` (a
# mapped file whose time need not change) by which other connections know that the frames are there. Whoever takes
# sizes and times of `db` and `-wal` for a signature, and reads in between, remembers the signature of the new state
# with the contents of the old one: nothing changes afterwards, so it stays stale until the next commit. `PRAGMA
# data_version` on a connection that is kept says the truth. This script stops in between by writing the two files of
# a later state one after the other.
#
# It matters to us because a read-only follower looks for commits of another process once a second: it answered from
# before a flush for as long as nobody committed again (85 of 150 flushes). See src/milvine/catalog/sql.py, `mark`.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install 'apsw==3.46.0.0'
cat > look.py <<'PY'
import os
import shutil
import sys

import apsw

print("python", sys.version.split()[0], "sqlite", apsw.sqlite_lib_version())
os.mkdir("early")
writer = apsw.Connection("early/db")
writer.execute("PRAGMA journal_mode=WAL")
writer.execute("CREATE TABLE t (n)")
writer.execute("INSERT INTO t VALUES (1)")
shutil.copytree("early", "late")
later = apsw.Connection("late/db")  # the same log, one commit further
later.execute("INSERT INTO t VALUES (2)")

reader = apsw.Connection("early/db", flags=apsw.SQLITE_OPEN_READONLY)


def rows():
    return reader.execute("SELECT count(*) FROM t").fetchall()[0][0]


def version():
    return reader.execute("PRAGMA data_version").fetchall()[0][0]


def files():
    return [(os.stat(p).st_size, os.stat(p).st_mtime_ns) for p in ("early/db", "early/db-wal")]


def put(suffix):
    data = open(f"late/db{suffix}", "rb").read()
    with open(f"early/db{suffix}", "r+b") as file:
        file.write(data)


assert rows() == 1
before = files()
put("-wal")  # the frames are written ...
seen, told, counted = files(), version(), rows()
put("-shm")  # ... and now the index
print("frames written, index not: files changed", seen != before, "rows", counted)
print("index written: files changed", files() != seen, "data_version changed", version() != told, "rows", rows())
assert seen != before and counted == 1, "frames without the index were read, or changed no file"
assert files() == seen and rows() == 2, "the index changes size or time of the files now"
assert version() != told
os._exit(0)  # the files were written to behind SQLite's back: nothing is to be closed
PY
venv/bin/python look.py
