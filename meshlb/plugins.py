"""Find an extension by name: the module ``PACKAGE.NAME``, else an entry point of the group.

The file name is the name in configurations; there is no registry to edit. The entry-point group
is the package's last word with ``meshlb.`` before it, such as ``meshlb.pickers``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from meshlb.errors import InvalidInputError


def _group(package: str) -> str:
    return f"meshlb.{package.rpartition('.')[2]}"


@functools.cache
def names(package: str) -> tuple[str, ...]:
    """Return the names that ``load`` takes for ``package``, sorted."""
    own = {m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    theirs = {entry.name for entry in entry_points(group=_group(package))}
    return tuple(sorted(name for name in own | theirs if not name.startswith("_")))


@functools.cache
def load(package: str, name: str) -> ModuleType:
    """Return the extension's module.

    Raises InvalidInputError, naming the known ones, if there is none of that name.
    """
    if name not in names(package):
        kind = package.rpartition(".")[2].removesuffix("s")
        raise InvalidInputError(
            f"{kind} = {name!r}: one of {', '.join(names(package))}", reason="UNKNOWN_NAME"
        )
    for entry in entry_points(group=_group(package)):
        if entry.name == name:
            module = entry.load()
            assert isinstance(module, ModuleType)
            return module
    return importlib.import_module(f"{package}.{name}")
