#!/usr/bin/env bash
# pyarrow: of a table with a column twice, one method says so, one denies the column, and one drops
# half in silence.
#
# Such a table is legal, and Arrow's stream format carries it. `table["a"]` says that the field
# exists twice. `schema.field("a")` says that it does not exist, as of a real stranger, and
# `get_field_index` gives -1 for either. `to_pydict` and `to_pylist` keep the last column and drop
# the first without a word, though the same rows as structs refuse to become Python objects. And
# `write_table` writes a Parquet file that `read_table` refuses to read.
#
# It matters to us because rows come as Arrow bodies: which of two columns `id` is stored must not
# depend on the method that reads it. `get_all_field_indices` is the one that tells.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install pyarrow==26.0.1
cat > look.py <<'PY'
import io
import sys

import pyarrow
from pyarrow import ipc, parquet

print("pyarrow", pyarrow.__version__)
made = pyarrow.table([pyarrow.array([1, 2]), pyarrow.array([3, 4])], names=["a", "a"])
body, file = io.BytesIO(), io.BytesIO()
with ipc.new_stream(body, made.schema) as stream:
    stream.write_table(made)
table = ipc.open_stream(body.getvalue()).read_all()
parquet.write_table(table, file)


def answer(call):
    try:
        return call()
    except (KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


schema = table.schema
seen = {
    'table["a"]': (answer(lambda: table["a"]), "exists 2 times"),
    'schema.field("a")': (answer(lambda: schema.field("a")), "Column a does not exist"),
    'schema.field("b")': (answer(lambda: schema.field("b")), "Column b does not exist"),
    'schema.get_field_index("a")': (schema.get_field_index("a"), "-1"),
    'schema.get_all_field_indices("a")': (schema.get_all_field_indices("a"), "[0, 1]"),
    "to_pydict()": (table.to_pydict(), "{'a': [3, 4]}"),
    "to_pylist()": (table.to_pylist(), "[{'a': 3}, {'a': 4}]"),
    "to_struct_array()": (answer(lambda: table.to_struct_array().to_pylist()), "duplicate"),
    "parquet.read_table": (answer(lambda: parquet.read_table(file)), "Multiple matches"),
}
for name, (what, _) in seen.items():
    print(f"{name}: {what}")
as_described = all(part in str(what) for what, part in seen.values())
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
