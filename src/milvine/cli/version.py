"""`milvine version`."""

from __future__ import annotations

import milvine


def version() -> None:
    """Print the version of Milvine."""
    print(milvine.__version__)
