"""Lanes: short calls of our own client over connections that carry nothing else. Both ends are
here; `docs/lanes.md` explains them.
"""
