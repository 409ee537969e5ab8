"""A `Demonstrator` in another process, which asks for every action of its expert to be played by whoever records it.

parent: demonstrate -> child               child: plans; act(action) -> parent
parent: plays the action, by as many calls of step and observe as it likes; "acted", or "over" -> child
child: ... demonstration ended -> parent
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embodied.errors import EmbodiedError, EnvProcessError, StageError
from embodied.interfaces import DemonstrableRecipe, Demonstrator
from embodied.runtime.child import Child
from embodied.runtime.wire import Wire
from embodied.types import Spec

PATIENCE_S = 300.0  # for a scene to be built, and for a plan


class RemoteDemonstrator:
    """The parent's end."""

    def __init__(self, recipe: DemonstrableRecipe, python: Path | None) -> None:
        self.child = Child("demonstrator", _serve, recipe, python=python)
        self.child.launch()
        try:
            told: tuple[Spec, str, tuple[int, ...]] = self._answer("building")
            self.spec, self.source, self.correctable = told
        except BaseException:
            self.close()
            raise

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        self._ask("reset", task, initial_state, seed)

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        return self._ask("step", action)

    def observe(self) -> Mapping[str, NDArray[Any] | Tensor]:
        return self._ask("observe")

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        self.child.tell(("demonstrate",))
        while (action := self._answer("demonstrating")) is not None:
            try:
                act(action)
            except BaseException:
                self.child.tell(("over",))
                self._answer("ending a demonstration")
                raise
            self.child.tell(("acted",))

    def close(self) -> None:
        self.child.close()

    def _ask(self, name: str, *args: Any) -> Any:
        self.child.tell((name, *args))
        return self._answer(f"`{name}`")

    def _answer(self, doing: str) -> Any:
        heard = self.child.hear(PATIENCE_S)
        if heard is None:
            raise EnvProcessError(
                f"the demonstrator's process {self.child.fate()} in {doing}; its demonstration is lost. Its last "
                f"words: {self.child.last_words()}"
            )
        value, error = heard
        if error is not None:
            raise error
        return value


class Over(Exception):  # noqa: N818  (it ends a demonstration that is not wanted any more, as it should)
    """Raised through the expert when the parent's `act` raised."""


def _serve(wire: Wire, recipe: DemonstrableRecipe) -> None:
    """The child: build, then answer calls until the parent hangs up."""
    scene, error = _outcome(recipe.demonstrator)
    if scene is None:
        wire.tell((None, error))
        return
    told = scene.spec, getattr(scene, "source", "script"), tuple(getattr(scene, "correctable", ()))
    wire.tell((told, None))
    try:
        _obey(wire, scene)
    except (EOFError, ConnectionError):
        scene.close()


def _obey(wire: Wire, scene: Demonstrator) -> None:
    """Answer calls, until one says that the action that was asked for is played."""

    def act(action: NDArray[np.float32]) -> None:
        wire.tell((np.asarray(action), None))
        _obey(wire, scene)

    while True:
        name, *args = wire.hear()
        if name == "acted":
            return
        if name == "over":
            raise Over
        wire.tell(_outcome(getattr(scene, name), *([act] if name == "demonstrate" else args)))


def _outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, EmbodiedError | None]:
    try:
        return function(*args), None
    except Over:
        return None, None
    except (EOFError, ConnectionError):
        raise
    except EmbodiedError as error:
        return None, error
    except Exception as error:  # the boundary of a process: the caller raises it
        traceback.print_exc()
        return None, StageError(f"the demonstrator raised {error!r}.")
