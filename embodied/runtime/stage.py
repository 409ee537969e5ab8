"""Stages: objects that live where their hardware is, called the same way in this process and, later, on Ray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Concatenate, Generic, ParamSpec, TypeVar

from embodied.interfaces import Recipe

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class LocalStage(Generic[T]):
    """Runs in a thread of this process, one call at a time, in order: a debugger stops inside it."""

    def __init__(self, recipe: Recipe[T]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=type(recipe).__name__)
        try:
            self._target = self._thread.submit(recipe.build).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def call(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._thread.submit(method, self._target, *args, **kwargs)

    def close(self) -> None:
        """Finish what was called, then close the target if it can be closed."""
        close = getattr(self._target, "close", None)
        if close is not None:
            self._thread.submit(close).result()
        self._thread.shutdown()
