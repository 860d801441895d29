"""The database as one object: a short method per operation."""
