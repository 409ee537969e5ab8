"""One episode's changes to a MuJoCo model, put in and taken out again: the working half of `randomize.py`.

    variation = Variation(model, recipe)
    variation.apply(seed, data)      in a scene's reset, after things were placed; then bring the physics up to date
    variation.show(camera)           before a picture is drawn
    variation.save(), load(state)    with the state of a scene

Every change starts from the nominal model, so nothing drifts. Each axis draws from numbers of its own: another range of
one leaves the others as they were.

The stage is what stands still: table, floor, walls. Things are what can be moved and no motor moves, and whatever the
scene names as such: their colors have names in instructions, so only their brightness changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.mujoco_camera import Camera
from simulators.patterns import draw
from simulators.randomize import AXES, Randomize

ATTEMPTS = 30  # to find a free place for a thing; without one it stays where it was
TOUCH_M, CLEAR_M = 0.002, 0.02  # closer than the first is a touch; nothing new comes closer than the second
REMEMBERED = 8  # episodes whose changes need not be drawn again
LARGEST = 256  # columns of a texture that is painted
LEAN_M = 0.01  # that the center of mass may move from the middle of its support
PLAIN = (0.5, 0.5, 0.5, 1.0)  # color of a geom that leaves it to its material
PATTERN_AXIS = len(AXES)
Vector = NDArray[np.float64]


class Variation:
    """`things` are names of bodies that stand still and belong to the task; `still` names cameras that stay."""

    def __init__(
        self,
        model: Any,
        r: Randomize,
        *,
        things: Sequence[str] = (),
        still: Sequence[str] = (),
        idle: Sequence[float] | NDArray[Any] = (),
    ) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.model, self.r, self.seed = model, r, -1
        self.roles = _Roles(mujoco, model, things)
        self.cameras = [i for i in range(model.ncam) if model.camera(i).name not in still]
        self.textures = {} if r.family == "none" else {i: _shrunk(model, i).copy() for i in self.roles.textures}
        self.parts = self._parts()
        self.nominal = [part[rows].copy() for part, rows in self.parts]
        self.drawn: OrderedDict[int, list[NDArray[Any]]] = OrderedDict()  # by seed: scenes may take turns in a model
        self.shown: object = None  # stands for the pixels of the present textures
        self.delay, self.idle = 0, np.array(idle, dtype=np.float64)
        self.queue = np.tile(self.idle, (int(r.amount("delay")[1]), 1))  # (most, A) actions that wait, oldest first

    def apply(self, seed: int, data: Any) -> None:
        """Change the model as `seed` says, and move the free things of `data`."""
        if self.r.is_off:
            return
        self._change(seed)
        self.queue[:] = self.idle
        self._move_things(data)

    def restore(self) -> None:
        """The model as it was built."""
        if self.seed < 0:
            return
        self._write(self.nominal)
        self.seed, self.delay, self.shown = -1, 0, object()

    def late(self, action: NDArray[Any]) -> NDArray[Any]:
        """The action (A,) that arrives now, when `action` is sent."""
        if not self.delay:
            return action
        arrives = self.queue[-self.delay].copy()
        self.queue = np.concatenate([self.queue[1:], action[None]])
        return arrives

    def show(self, camera: Camera) -> None:
        """Give the renderer the textures of this episode, unless it has them."""
        if self.textures and camera.textures is not self.shown:
            camera.upload(self.model, list(self.textures))
            camera.textures = self.shown

    def save(self) -> Vector:
        """(S,) whose length depends on the recipe alone; empty where nothing is randomized."""
        return np.empty(0) if self.r.is_off else np.concatenate([[self.seed], self.queue.ravel()])

    def load(self, state: Vector) -> None:
        """The same changes again; things are where the physics says."""
        if self.r.is_off:
            return
        self._change(int(state[0]))
        self.queue[:] = state[1:].reshape(self.queue.shape)

    def _change(self, seed: int) -> None:
        if seed == self.seed:
            return
        if seed < 0:
            self.restore()
            return
        self.seed, self.shown = seed, object()
        low, high = self.r.amount("delay")
        self.delay = int(self._numbers("delay").integers(int(low), int(high) + 1))
        if seed in self.drawn:
            self._write(self.drawn[seed])
            return
        self._write(self.nominal)
        self._color()
        self._light()
        self._aim()
        self._weigh()
        self.drawn[seed] = [part[rows].copy() for part, rows in self.parts]
        if len(self.drawn) > REMEMBERED:
            self.drawn.popitem(last=False)

    def _parts(self) -> list[tuple[NDArray[Any], Any]]:
        """Whatever is written, and its rows: of colors only our own, as simulators write others themselves."""
        headlight = self.model.vis.headlight
        whole = [getattr(self.model, name) for name in CHANGED if name != "geom_rgba"]
        whole += [headlight.ambient, headlight.diffuse, *(_pixels(self.model, index) for index in self.textures)]
        return [(self.model.geom_rgba, self.roles.stage_geoms), *((part, slice(None)) for part in whole)]

    def _write(self, values: list[NDArray[Any]]) -> None:
        for (part, rows), value in zip(self.parts, values, strict=True):
            part[rows] = value

    def _numbers(self, axis: str) -> np.random.Generator:
        index = AXES.index(axis) if axis in AXES else PATTERN_AXIS
        return np.random.default_rng([self.seed, index])

    def _color(self) -> None:
        model, roles = self.model, self.roles
        color, shade = self._numbers("color"), self._numbers("shade")
        for array, rows in ((model.mat_rgba, roles.stage_materials), (model.geom_rgba, roles.stage_geoms)):
            for row in rows:
                array[row, :3] = moved(array[row, :3], self._size("color", color), color)
        for row in roles.other_materials:
            ratio, brightest = self._ratio("shade", shade), model.mat_rgba[row, :3].max()
            model.mat_rgba[row, :3] *= ratio if ratio * brightest <= 1 else 1 / ratio
        patterns = self._numbers("patterns")
        for index, own in self.textures.items():
            _pixels(model, index)[:] = draw(own, self.r.family, patterns)

    def _light(self) -> None:
        model, headlight = self.model, self.model.vis.headlight
        color, turn, shift = (self._numbers(f"light_{what}") for what in ("color", "turn", "shift"))
        for lamp in range(model.nlight):
            model.light_diffuse[lamp] = moved(model.light_diffuse[lamp], self._size("light_color", color), color)
            model.light_dir[lamp] = turned(model.light_dir[lamp], self._size("light_turn", turn), turn)
            model.light_pos[lamp] += self._size("light_shift", shift) * direction(shift)
        bright = self._ratio("light", self._numbers("light"))
        for array in (model.light_diffuse, headlight.diffuse, headlight.ambient):
            array *= bright
        lamps = self._numbers("lamps")
        low, high = self.r.amount("lamps")
        on = model.light_active.nonzero()[0]
        free = (
            lamps.permutation(model.nlight) if len(on) > 1 else lamps.permutation((1 - model.light_active).nonzero()[0])
        )
        switched = free[: lamps.integers(int(low), int(high) + 1)]
        model.light_active[switched] = 1 - model.light_active[switched]

    def _aim(self) -> None:
        model = self.model
        shift, turn, zoom = (self._numbers(f"camera_{what}") for what in ("shift", "turn", "zoom"))
        for camera in self.cameras:
            model.cam_pos[camera] += self._size("camera_shift", shift) * direction(shift)
            half = self._size("camera_turn", turn) / 2
            rotation, aimed = np.append(np.cos(half), np.sin(half) * direction(turn)), np.zeros(4)
            self.mujoco.mju_mulQuat(aimed, model.cam_quat[camera], rotation)
            model.cam_quat[camera] = aimed
            model.cam_fovy[camera] *= self._ratio("camera_zoom", zoom)

    def _weigh(self) -> None:
        model, roles = self.model, self.roles
        model.geom_friction[:, 0] *= self._ratio("friction", self._numbers("friction"))  # against sliding
        mass = self._numbers("mass")
        for body in roles.things:
            ratio, dofs = self._ratio("mass", mass), model.dof_bodyid == body
            for array, at in ((model.body_mass, body), (model.body_inertia, body), (model.dof_M0, dofs)):
                array[at] *= ratio
            for array, at in ((model.body_invweight0, body), (model.dof_invweight0, dofs)):
                array[at] /= ratio
        model.body_subtreemass[:] = model.body_mass
        for body in range(model.nbody - 1, 0, -1):  # children come after their parents
            model.body_subtreemass[model.body_parentid[body]] += model.body_subtreemass[body]
        damping = self._ratio("damping", self._numbers("damping"))
        model.dof_damping *= damping
        model.dof_frictionloss *= damping
        gain = self._ratio("gain", self._numbers("gain"))
        model.actuator_gainprm *= gain
        model.actuator_biasprm *= gain  # a spring and its damper stay in proportion

    def _size(self, axis: str, generator: np.random.Generator) -> float:
        return float(generator.uniform(*self.r.amount(axis)))

    def _ratio(self, axis: str, generator: np.random.Generator) -> float:
        """Times or divided by 1 + x, as likely the one as the other."""
        ratio = 1 + self._size(axis, generator)
        return ratio if generator.random() < 0.5 else 1 / ratio

    def _move_things(self, data: Any) -> None:
        """Push and turn whatever lies free; what touches each other moves as one.

        A move counts if nothing comes near anything new and everything stays on what carries it.
        """
        shift, turn = self._numbers("object_shift"), self._numbers("object_turn")
        if not (self.r.amount("object_shift")[1] or self.r.amount("object_turn")[1]):
            return
        before = self._standing(data)
        for heap in _heaps(before):
            places = [self.roles.free[body] for body in heap]
            start = {at: data.qpos[at : at + 7].copy() for at in places}
            for _ in range(ATTEMPTS):
                angle = self._size("object_turn", turn) * turn.choice([-1, 1])
                way = shift.uniform(0, 2 * np.pi)
                step = self._size("object_shift", shift) * np.array([np.cos(way), np.sin(way)])
                for at, pose in start.items():
                    data.qpos[at : at + 7] = self._carried(pose, start[places[0]][:2], step, angle)
                if all(map(_is_kept, before.values(), self._standing(data).values())):
                    break
            else:
                for at, pose in start.items():
                    data.qpos[at : at + 7] = pose

    def _carried(self, pose: Vector, around: Vector, step: Vector, angle: float) -> Vector:
        """`pose` (7,) turned by `angle` around a vertical axis at `around` (2,), then pushed by `step` (2,)."""
        found, arm = pose.copy(), pose[:2] - around
        sine, cosine = np.sin(angle), np.cos(angle)
        found[:2] = around + step + (arm[0] * cosine - arm[1] * sine, arm[0] * sine + arm[1] * cosine)
        self.mujoco.mju_mulQuat(found[3:], np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)]), pose[3:])
        return found

    def _standing(self, data: Any) -> dict[int, _Standing]:
        """How each free thing, by its body, lies among others."""
        option, flag = self.model.opt, int(self.mujoco.mjtEnableBit.mjENBL_OVERRIDE)
        margin, flags = option.o_margin, option.enableflags
        option.o_margin, option.enableflags = CLEAR_M, flags | flag
        self.mujoco.mj_kinematics(self.model, data)
        self.mujoco.mj_collision(self.model, data)
        option.o_margin, option.enableflags = margin, flags
        pairs = self.model.geom_bodyid[data.contact.geom]  # (contacts, 2)
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        touches = np.tile(data.contact.dist < TOUCH_M, 2)
        points = np.tile(data.contact.pos[:, :2], (2, 1))
        found: dict[int, _Standing] = {}
        for body in self.roles.free:
            near = pairs[:, 0] == body
            touched = near & touches
            aside = data.xipos[body, :2] - points[touched].mean(axis=0) if touched.any() else np.zeros(2)
            found[body] = _Standing(
                set(pairs[touched, 1].tolist()), set(pairs[near, 1].tolist()), float(np.linalg.norm(aside))
            )
        return found


CHANGED = (
    "mat_rgba", "geom_rgba", "light_diffuse", "light_dir", "light_pos", "light_active", "cam_pos", "cam_quat",
    "cam_fovy", "geom_friction", "body_mass", "body_inertia", "body_invweight0", "body_subtreemass", "dof_M0",
    "dof_invweight0", "dof_damping", "dof_frictionloss", "actuator_gainprm", "actuator_biasprm",
)  # fmt: skip


class _Roles:
    """Which rows of a model are stage, and which are things."""

    def __init__(self, mujoco: Any, model: Any, named: Sequence[str]) -> None:
        robots = {model.body_rootid[model.jnt_bodyid[model.actuator_trnid[a, 0]]]
                  for a in range(model.nu) if model.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_JOINT}  # fmt: skip
        given = {model.body(name).id for name in named}
        stage = np.zeros(model.nbody, dtype=bool)
        mine = np.zeros(model.nbody, dtype=bool)
        for body in range(model.nbody):
            parent, root = model.body_parentid[body], model.body_rootid[body]
            inherits = body in given or (body and mine[parent])
            moves = model.body_weldid[body] != 0 or model.body_mocapid[body] >= 0
            mine[body] = root not in robots and bool(inherits or moves)
            stage[body] = not mine[body] and root not in robots
        self.things = mine.nonzero()[0].tolist()
        free = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
        at = {int(model.jnt_bodyid[j]): int(model.jnt_qposadr[j]) for j in free}
        self.free = {body: place for body, place in at.items() if mine[body]}  # body: where its pose is in qpos
        on_stage = stage[model.geom_bodyid]  # (geoms,)
        others = set(model.geom_matid[~on_stage].tolist())
        materials = set(model.geom_matid[on_stage].tolist()) - others - {-1}
        self.stage_materials = sorted(materials)
        self.other_materials = sorted(others - {-1})
        own = (model.geom_rgba != np.array(PLAIN, dtype=np.float32)).any(axis=1) | (model.geom_matid < 0)
        self.stage_geoms = (on_stage & own).nonzero()[0]
        texture = model.mat_texid[:, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)]
        taken = {int(t) for m, t in enumerate(texture) if m not in materials}
        sky = int(mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        found = {int(texture[m]) for m in materials} - taken - {-1}
        self.textures = sorted(t for t in found if model.tex_type[t] != sky)


@dataclass(frozen=True, slots=True)
class _Standing:
    touched: set[int]  # bodies
    near: set[int]
    aside: float  # m, horizontally from its center of mass to the middle of where it is touched


def _is_kept(old: _Standing, new: _Standing) -> bool:
    """Whether a thing still stands as it did, and is in nobody's way."""
    is_carried = bool(new.touched) == bool(old.touched) and new.aside < old.aside + LEAN_M
    return new.touched <= old.touched and new.near <= old.near and is_carried


def _heaps(standing: Mapping[int, _Standing]) -> list[list[int]]:
    """Free things in groups that touch each other."""
    left, heaps = list(standing), list[list[int]]()
    while left:
        heap = [left.pop(0)]
        for body in heap:  # grows meanwhile
            joined = [other for other in left if other in standing[body].touched]
            heap += joined
            left = [other for other in left if other not in joined]
        heaps.append(heap)
    return heaps


def _pixels(model: Any, texture: int) -> NDArray[np.uint8]:
    """(H, W, channels), the model's own memory."""
    shape = [int(x[texture]) for x in (model.tex_height, model.tex_width, model.tex_nchannel)]
    first = int(model.tex_adr[texture])
    return model.tex_data[first : first + np.prod(shape)].reshape(shape)


def _shrunk(model: Any, texture: int) -> NDArray[np.uint8]:
    """The pixels of a texture, which has at most LARGEST columns from now on: painting and uploading are quick then."""
    pixels = _pixels(model, texture)
    factor = -(-pixels.shape[1] // LARGEST)
    if factor > 1:
        faces = 6 if pixels.shape[0] == 6 * pixels.shape[1] else 1
        side, width = pixels.shape[0] // faces // factor, pixels.shape[1] // factor
        blocks = pixels.reshape(faces, -1, *pixels.shape[1:])[:, : side * factor, : width * factor]
        small = blocks.reshape(faces, side, factor, width, factor, -1).mean(axis=(2, 4))
        model.tex_height[texture], model.tex_width[texture] = faces * side, width
        _pixels(model, texture)[:] = small.reshape(faces * side, width, -1).round()
    return _pixels(model, texture)


def direction(generator: np.random.Generator) -> Vector:
    """(3,) of length 1."""
    vector = generator.normal(size=3)
    return vector / np.linalg.norm(vector)


def moved(color: Vector, distance: float, generator: np.random.Generator) -> Vector:
    """(3,) a color at `distance` (at most 0.86) from `color`, inside the cube of colors."""
    color = color.clip(0, 1)
    while True:
        way = distance * direction(generator)
        outside = (color + way < 0) | (color + way > 1)
        found = np.where(outside, color - way, color + way)
        if found.min() >= 0 and found.max() <= 1:
            return found


def turned(vector: Vector, angle: float, generator: np.random.Generator) -> Vector:
    """(3,) `vector` turned by `angle` towards any side."""
    aside = np.cross(vector, direction(generator))
    aside /= np.linalg.norm(aside)
    return vector * np.cos(angle) + aside * np.linalg.norm(vector) * np.sin(angle)
