"""Crashes on purpose: `kill -9` at random moments, and power cuts replayed from a recorded trace of
every write.

    python -m milvine.testing.crash kill --cycles 50
    python -m milvine.testing.crash powercut --states 200

A workload writes to a database from several threads and keeps a journal of what it meant to do and
what was acknowledged. After each crash the database is opened again and compared with what the
journal says must be there.
"""
