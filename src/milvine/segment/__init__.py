"""Flushed rows: immutable files that describe themselves, their tombstones, and what one reader
sees of them.
"""
