"""Milvine beside raw faiss on real data. Not shipped; `python -m bench --help` says what it
measures.
"""
