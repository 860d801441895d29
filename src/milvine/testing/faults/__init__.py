"""Faults on purpose: ends at chosen points, a disk that refuses or is full, damaged bytes in an
open database.

    python -m milvine.testing.faults kill      kill -9 at every point of the write path
    python -m milvine.testing.faults refuse    the disk refuses once at every point where it can
    python -m milvine.testing.faults full      a full disk, from each call of a small workload on
    python -m milvine.testing.faults flips     a flipped byte, then all is read through the database

Each prints one line of figures and ends with 1 when something acknowledged was lost, came back, was
half there, was answered wrongly, or when files were left over.
"""
