"""Packages of the extra `data`, imported when a format needs them: recipes and our own log do without."""

from __future__ import annotations

import importlib
from typing import Any

from embodied.errors import PackageError


def need(module: str, purpose: str) -> Any:
    """The module, or a sentence that says how to get it."""
    package = module.partition(".")[0]
    install = "`make setup EXTRAS=data`, or pip install -c constraints.txt 'embodied-rl[data]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise PackageError(
            f"{purpose} needs the package {package}, which is not installed; nothing was read or written. {install}."
        ) from None
    except ImportError as error:
        raise PackageError(
            f"{purpose} needs the package {package}, and the one that is installed does not fit the others ({error}); "
            f"nothing was read or written. {install}."
        ) from None
