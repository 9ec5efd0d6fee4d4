"""Triton's interpreter, made quick enough for a test suite; and programs in another order.

At every call of a helper the interpreter looks through all of ``triton.language`` for what it has
to replace, though it has replaced it already: half the time of our kernels. `quicken` remembers
what there is to replace.
"""

from __future__ import annotations

import inspect
from typing import Any


def quicken() -> None:
    """Let the interpreter look through each namespace of the language once."""
    from triton import language
    from triton.runtime import interpreter

    known: dict[Any, list[tuple[str, Any]]] = {}

    def patch_builtin(package: Any, builder: Any, scope: Any) -> None:
        if package not in known:
            members = inspect.getmembers(package)
            known[package] = [(n, m) for n, m in members if language.core.is_builtin(m)]
        for name, member in known[package]:
            if getattr(package, name) is member:
                interpreter._patch_attr(package, name, member, builder, scope)

    interpreter._patch_builtin = patch_builtin
