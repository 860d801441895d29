"""Module names of pymilvus 1.x. New programs need none of them: `from milvus import ...` has
everything.
"""

from milvine import __version__

__all__ = ["__version__"]
