"""Refuse to run with a stranger's package under one of our names, and say which extra a missing package is in."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from embodied.errors import PackageError

PROJECT = "embodied-rl"
NAMES = ("embodied", "policies", "simulators", "hardware")


def check_packages() -> None:
    for name in NAMES:
        module = import_module(name)
        if getattr(module, "__project__", None) != PROJECT:
            raise PackageError(
                f"`import {name}` found {module.__file__}, which is not ours. Another distribution or a folder on "
                f"sys.path has the same name: run `embodied doctor`, then reinstall {PROJECT} in a clean environment."
            )


def need(module: str, *, extra: str) -> Any:
    """Import `module`, or say which extra of ours brings it."""
    install = f'Install it with: pip install -c constraints.txt -e ".[{extra}]"'
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise PackageError(
            f"`{module}` was asked for and {error.name} is not installed; nothing was started. {install}"
        ) from None
    except ImportError as error:
        raise PackageError(
            f"`{module}` was asked for, and the one that is installed does not fit the others ({error}); nothing was "
            f"started. {install}"
        ) from None
