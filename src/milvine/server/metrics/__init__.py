"""Prometheus metrics: a listener that counts events, collectors that read the rest when somebody scrapes.

Needs the extra `server` (prometheus-client, psutil). Start reading at `serving.py`.
"""
