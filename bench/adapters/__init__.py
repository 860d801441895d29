"""One file for each other database. Each runs in that database's environment, by its path, and
imports nothing of ours.

What an adapter must have is written in `milvine.bench.worker.Contender`.
"""
