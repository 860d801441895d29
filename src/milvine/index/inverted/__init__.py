"""Inverted files: rows in lists around centres, of which a search reads the nearest."""
