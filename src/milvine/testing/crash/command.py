"""How the harness starts a module of its own in another process."""

from __future__ import annotations

from collections.abc import Sequence

from milvine.interpreter import running_module


def module_command(module: str, arguments: Sequence[str]) -> list[str]:
    """`python -m module arguments`, with the import path of this process, whether or not Milvine is
    installed.
    """
    return running_module(module, *arguments)
