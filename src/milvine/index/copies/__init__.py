"""Which rows an index is built over, and which others a hit on one of them stands for."""
