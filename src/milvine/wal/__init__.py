"""The write-ahead log: framed records in append-only files, synced before anything is
acknowledged.
"""
