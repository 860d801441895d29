"""Definitions that change while all others work: collections made anew with other dimensions and
metrics.
"""
