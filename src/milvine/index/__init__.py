"""Kernels: exact search, the index types and their parameters. Nothing here knows file names or
collections.
"""
