"""How the HDF5 files of LIBERO and of robomimic name things, and how those become ours; see `hdf5.py`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ROBOSUITE = 1  # robomimic's number for environments of robosuite
ARM_JOINTS = 7
LIBERO = {  # ours -> theirs; several are joined
    "rgb/agent": ("agentview_rgb",),
    "rgb/wrist": ("eye_in_hand_rgb",),
    "state": ("ee_states", "gripper_states"),
    "joints": ("joint_states",),
}
PROPRIOCEPTION = (  # of robosuite, in the order of its own `robot0_proprio-state`
    "joint_pos_cos", "joint_pos_sin", "joint_vel", "eef_pos", "eef_quat", "gripper_qpos", "gripper_qvel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """What one file holds, in our names."""

    kind: Literal["libero", "robomimic"]
    sources: Mapping[str, tuple[str, ...]]  # ours -> keys under `obs`, joined
    shapes: Mapping[str, tuple[int, ...]]  # of ours, without the leading L
    action_dim: int
    grippers: tuple[int, ...]  # entries of an action whose sign is turned
    control_hz: float
    robot: str
    seen_after: bool  # what lies beside an action was seen after it
    upside_down: bool  # OpenGL's rows
    has_next: bool  # `next_obs` tells what was seen last
    lacks: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def origin(self) -> str:
        notes = [f"{'LIBERO' if self.kind == 'libero' else 'robomimic'} HDF5"]
        if self.grippers:
            notes.append("gripper turned so that +1 opens")
        if self.kind == "libero":
            notes.append("pictures turned by 180 degrees" if self.upside_down else "pictures mirrored")
        if self.seen_after:
            notes.append("each observation with the action that followed it")
        if self.left_out:
            notes.append(f"without {', '.join(self.left_out)}")
        return "; ".join(notes)

    def read(self, obs: Any, name: str, *, last: bool = False) -> NDArray[Any]:
        """(L, ...) of one observation of ours, or its last row (1, ...)."""
        rows = slice(-1, None) if last else slice(None)
        parts = [np.asarray(obs[key][rows]) for key in self.sources[name]]
        if not name.startswith(("rgb/", "depth/")):
            return _float32(np.concatenate([x.reshape(len(x), -1) for x in parts], axis=1))
        return self._picture(parts[0], name)

    def actions(self, theirs: NDArray[Any]) -> NDArray[np.float32]:
        ours = _float32(theirs)
        ours[:, list(self.grippers)] *= -1
        return ours

    def _picture(self, x: NDArray[Any], name: str) -> NDArray[Any]:
        if x.ndim == 3:  # depth without its channel
            x = x[..., None]
        if self.kind == "libero":
            x = x[:, ::-1, ::-1] if self.upside_down else x[:, :, ::-1]
        return np.ascontiguousarray(x if name.startswith("rgb/") else _float32(x))


def layout_of(data: Any, name: str) -> Layout:
    """The layout of a file with the groups `data`, found on the episode `name`."""
    demo = data[name]
    obs = demo["obs"]
    about = _json(data.attrs, "env_args") or {}
    settings = about.get("env_kwargs") or {}
    is_libero = "agentview_rgb" in obs or "ee_states" in obs
    sources = {k: v for k, v in LIBERO.items() if all(key in obs for key in v)} if is_libero else _robomimic(obs)
    used = {key for keys in sources.values() for key in keys} | ({"ee_pos", "ee_ori"} if is_libero else set[str]())
    shapes = {ours: _shape(obs, ours, keys) for ours, keys in sources.items()}
    action_dim = int(demo["actions"].shape[1])
    robots = settings.get("robots") or (["Panda"] if is_libero else [])
    robots = [robots] if isinstance(robots, str) else list(robots)
    by_robosuite = is_libero or about.get("type") == ROBOSUITE
    lacks = [] if "rewards" in demo else ["reward", "success"]
    if not is_libero and settings.get("reward_shaping") and not lacks:
        lacks = ["success"]
    return Layout(
        kind="libero" if is_libero else "robomimic",
        sources=sources,
        shapes=shapes,
        action_dim=action_dim,
        grippers=_grippers(action_dim, max(1, len(robots))) if by_robosuite else (),
        control_hz=float(settings.get("control_freq") or 20.0),
        robot="+".join(str(robot).lower() for robot in robots),
        seen_after=is_libero and _seen_after(demo),
        upside_down=str(data.attrs.get("macros_image_convention", "opengl")) != "opencv",
        has_next=not is_libero and "next_obs" in demo and all(key in demo["next_obs"] for key in used),
        lacks=tuple([*lacks, *([] if "dones" in demo else ["terminated"])]),
        left_out=tuple(sorted(key for key in obs if key not in used)),
    )


def language_of(attrs: Mapping[str, Any], stem: str) -> str:
    """The instruction of a file: LIBERO says it in its problem, or else in its name."""
    problem = _json(attrs, "problem_info") or {}
    said = problem.get("language_instruction") or attrs.get("language") or attrs.get("language_instruction")
    if isinstance(said, bytes):
        said = said.decode()
    if isinstance(said, list):
        said = "".join(said)
    if said:
        return str(said).strip().strip('"')
    if "problem_info" in attrs or stem.endswith("_demo"):
        return re.sub(r"^[A-Z_]+_SCENE\d+_", "", stem.removesuffix("_demo")).replace("_", " ")
    return ""


def _float32(x: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is then named
        return x.astype(np.float32)


def _robomimic(obs: Any) -> dict[str, tuple[str, ...]]:
    sources: dict[str, tuple[str, ...]] = {}
    rest: list[str] = []
    for key in obs:
        if key.endswith("_image"):
            sources[f"rgb/{key.removesuffix('_image')}"] = (key,)
        elif key.endswith("_depth"):
            sources[f"depth/{key.removesuffix('_depth')}"] = (key,)
        elif obs[key].dtype.kind in "fiub":
            rest.append(key)
    state = [f"{arm}_{part}" for arm in _arms(rest) for part in PROPRIOCEPTION if f"{arm}_{part}" in rest]
    if "object" in rest and not sources:  # without pictures, a policy is told where the objects are
        state.insert(0, "object")
    if state:
        sources["state"] = tuple(state)
    return sources | {key: (key,) for key in rest if key not in state}


def _arms(keys: list[str]) -> list[str]:
    return sorted({found.group(1) for key in keys if (found := re.match(r"(robot\d+)_", key))})


def _shape(obs: Any, name: str, keys: tuple[str, ...]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in obs[keys[0]].shape[1:])
    if name.startswith(("rgb/", "depth/")):
        return shape if len(shape) == 3 else (*shape, 1)
    return (sum(int(np.prod(obs[key].shape[1:])) for key in keys),)


def _grippers(action_dim: int, arms: int) -> tuple[int, ...]:
    """The last entry of each arm; six entries are a pose alone."""
    each = action_dim // arms
    return () if each == 6 or action_dim % arms else tuple(range(each - 1, action_dim, each))


def _seen_after(demo: Any) -> bool:
    """Whether the joints beside each action are those of the next state. States were kept before each action."""
    if "states" not in demo or "joint_states" not in demo["obs"]:
        return False
    joints = np.asarray(demo["obs"]["joint_states"], dtype=np.float64)  # (L, 7)
    states = np.asarray(demo["states"], dtype=np.float64)[:, 1 : 1 + ARM_JOINTS]  # time comes first, then the arm
    if states.shape != joints.shape:
        return False
    before = np.abs(joints[:-1] - states[:-1]).mean()
    after = np.abs(joints[:-1] - states[1:]).mean()
    return bool(after < before)


def _json(attrs: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """An attribute that holds a JSON object."""
    found = attrs.get(name)
    with contextlib.suppress(ValueError, TypeError):
        value = json.loads(found) if found is not None else None
        return value if isinstance(value, dict) else None
    return None
