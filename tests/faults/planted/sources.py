"""Change torch's Python code: one piece of one function's source, replaced in memory."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from planted.kernels import own_errors


def rewrite(owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Replace pieces of the source of `owner.name` (a module's function or a class's method) and put it in its place.

    Raises:
        LookupError: a piece is not there: this torch's source is another one.
    """
    function = inspect.unwrap(inspect.getattr_static(owner, name))
    static = isinstance(function, staticmethod)
    function = function.__func__ if static else function
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :] if source.startswith("@") else source
    for old, new in changes:
        if old not in source:
            raise LookupError(f"{name} of this torch does not say {old!r}")
        source = source.replace(old, new)
    scope = dict(vars(sys.modules[function.__module__]))
    exec(compile("from __future__ import annotations\n" + source, f"<planted {name}>", "exec"), scope)
    made = scope[function.__name__]
    setattr(owner, name, staticmethod(made) if static else made)


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Put `wrapper(original, *args, **kwargs)` in the place of a function or method."""
    original = getattr(owner, name)

    def call(*args, **kwargs):
        return original(*args, **kwargs)

    def replacement(*args, **kwargs):
        return own_errors(wrapper, call, *args, **kwargs)

    replacement.__name__ = name
    setattr(owner, name, replacement)
