"""robosuite 1.4 without surprises: a quiet import, seeds, and a control step without what nobody asked for.

robosuite's own `step` computes the dynamics three times in each substep (the environment's `forward`, the controller's,
MuJoCo's) and samples every observable. `advance` computes them once; positions and velocities come out bit for bit the
same. LIBERO's scenes are robosuite's, so they are stepped here too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.environment import prepare
from embodied.errors import ConfigError
from embodied.packaging import need

MACROS = "robosuite.macros_private"  # a module that users may add to robosuite; without one it logs to /tmp and warns


def import_robosuite(extra: str) -> ModuleType:
    """Import it, or say which `extra` of ours brings it. Nothing is written into the home folder."""
    prepare()
    package = importlib.util.find_spec("robosuite")
    if package and package.origin and "robosuite" not in sys.modules:
        folder = Path(package.origin).parent
        if not (folder / "macros_private.py").is_file():
            sys.modules[MACROS] = ModuleType(MACROS)
            vars(sys.modules[MACROS])["CONSOLE_LOGGING_LEVEL"] = "ERROR"  # 1.5 tells of every file that it reads
        if not os.environ.get("NUMBA_CACHE_DIR") and not os.access(folder / "utils", os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(numba_folder())  # numba would compile into the home folder
    return need("robosuite", extra=extra)


def numba_folder() -> Path:
    """One of this user's for all processes; whoever could write there could run code here, so nobody else may."""
    folder = Path(tempfile.gettempdir()) / f"embodied-numba-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise ConfigError(
            f"robosuite's compiled code should go to {folder}, which is not a folder that only you may write; nothing "
            f"was built. Remove it, or set NUMBA_CACHE_DIR to a folder of yours."
        )
    return folder


def advance(env: Any, action: NDArray[np.floating[Any]]) -> None:
    """One control step of the robosuite environment `env`: its controllers and its substeps, without observables."""
    import mujoco

    physics: Any = mujoco
    model, data = env.sim.model._model, env.sim.data._data
    with _forwarded(env.sim):
        for substep in range(int(env.control_timestep / env.model_timestep)):
            (physics.mj_step1 if substep else physics.mj_forward)(model, data)  # Wipe reads the force sensors then
            env._pre_action(action, policy_step=substep == 0)
            physics.mj_step2(model, data)


@contextlib.contextmanager
def _forwarded(sim: Any) -> Iterator[None]:
    """`sim.forward` does nothing meanwhile: what it would compute is there."""
    sim.forward = lambda: None
    try:
        yield
    finally:
        del sim.forward


@contextlib.contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """robosuite draws from numpy's global generator: seed it, and give the caller's back after."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)
