"""Milvine: a vector database that speaks Milvus 1.x, embedded or as a server."""

__version__ = "0.1.0"
