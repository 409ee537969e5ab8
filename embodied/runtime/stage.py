"""Stages: objects that live where their hardware is, called the same way here, in a child process, and later on Ray."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from embodied.errors import StageError
from embodied.interfaces import Recipe
from embodied.runtime.child import Child
from embodied.runtime.wire import Wire

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
            self._thread.shutdown(wait=False)
            raise

    def call(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._thread.submit(getattr(self._target, method.__name__), *args, **kwargs)

    def close(self) -> None:
        """Finish what was called, then close the target if it can be closed."""
        close = getattr(self._target, "close", None)
        if close is not None:
            self._thread.submit(close).result()
        self._thread.shutdown()


class ProcessStage(Generic[T]):
    """Runs in a child process, one call at a time, in order. A child that dies fails the call with a `StageError`.

    Building starts at once and is awaited by `ready`, so that several stages come up side by side.
    """

    def __init__(self, recipe: Recipe[T], name: str = "stage", timeout_s: float = 600.0) -> None:
        self.name, self.timeout_s = name, timeout_s
        self._child = Child(name, _serve, recipe)
        self._child.launch()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._built = self._thread.submit(self._answer, "build")

    def ready(self) -> None:
        """Wait until the target is built, or raise why it was not."""
        self._built.result()

    def call(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._thread.submit(self._ask, method.__name__, args, kwargs)

    def close(self) -> None:
        """Finish what was called, then hang up: the child closes its target and ends."""
        self._thread.shutdown()
        self._child.close()

    def _ask(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._child.tell((name, args, kwargs))
        return self._answer(name)

    def _answer(self, name: str) -> Any:
        began = time.monotonic()
        found = self._child.hear(self.timeout_s)
        if found is None:
            fate = self._child.fate()
            self._child.stop(grace_s=0.0)  # a late answer must not be taken for that of the next call
            raise StageError(
                f"the process {self.name} {fate} after {time.monotonic() - began:.0f} s of `{name}`; its work since "
                f"the last answer is lost. Its last words: {self._child.last_words()}"
            )
        value, error = found
        if error is not None:
            raise error
        return value


def _serve(wire: Wire, recipe: Recipe[Any]) -> None:
    """The child: build, then answer calls until the parent hangs up. Exceptions are answers, too."""
    target, error = _outcome(recipe.build)
    wire.tell((None, error))
    try:
        while error is None:
            name, args, kwargs = wire.hear()
            wire.tell(_outcome(lambda call: getattr(target, call[0])(*call[1], **call[2]), (name, args, kwargs)))
    except (EOFError, ConnectionError):
        close = getattr(target, "close", None)
        if close is not None:
            close()


def _outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, Exception | None]:
    try:
        return function(*args), None
    except Exception as error:  # the boundary of a process: the caller raises it
        traceback.print_exc()
        return None, error if _travels(error) else StageError(f"{type(error).__name__}: {error}")


def _travels(error: Exception) -> bool:
    """Whether it can be pickled here and unpickled there."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # an exception's own constructor may raise anything
        return False
