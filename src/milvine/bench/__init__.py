"""Milvine beside raw faiss on this machine: `milvine bench`. Each contender runs in a process of
its own.
"""
