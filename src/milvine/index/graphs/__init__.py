"""Graphs of rows that are near to each other, searched from row to row: HNSW, RNSG."""
