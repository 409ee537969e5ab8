"""The table, its light and its cameras around the arm: one MuJoCo model, and handles to what moves in it.

Origin: the robot's base, on the table's surface; x points away from the robot, z up. Colors live in materials, and
everything has a name, so that whoever randomizes a model finds it. Geoms of robot and world collide, those of the robot
do not with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators import osc, tabletop_arm

TIMESTEP_S = 0.002
CONTROL_HZ = 20.0
SUBSTEPS = round(1 / (CONTROL_HZ * TIMESTEP_S))  # 25
POSTURE_EVERY = 5  # steps of physics
LOW, HIGH = (0.28, -0.35, 0.012), (0.78, 0.35, 0.5)  # m, where the tool's target may go
CAMERAS = ("front", "side", "top", "wrist")
START_NOISE_RAD = 0.02  # of each joint at the start of an episode

MATERIALS = tabletop_arm.MATERIALS | {
    "table": "0.72 0.6 0.46 1",
    "table_leg": "0.35 0.3 0.27 1",
    "floor": "0.45 0.47 0.5 1",
    "wall": "0.78 0.8 0.82 1",
    "goal": "0.85 0.1 0.1 1",
    "goal_inner": "0.95 0.95 0.95 1",
}

PAINTED = {"table": "2d", "floor": "2d", "wall": "cube"}  # what may get a pattern, and how it lies on a box


def _camera(name: str, eye: tuple[float, float, float], at: tuple[float, float, float], fovy: float) -> str:
    """A camera at `eye` that looks at `at`, upright."""
    back = np.subtract(eye, at) / np.linalg.norm(np.subtract(eye, at))
    right = np.cross([0.0, 0.0, 1.0] if abs(back[2]) < 0.999 else [-1.0, 0.0, 0.0], back)
    right /= np.linalg.norm(right)
    axes = " ".join(f"{number:.6f}" for number in (*right, *np.cross(back, right)))
    return f'<camera name="{name}" pos="{eye[0]} {eye[1]} {eye[2]}" xyaxes="{axes}" fovy="{fovy}"/>'


def world_xml(bodies: str, materials: Mapping[str, str], extra: str = "", *, textured: bool = False) -> str:
    """The whole model. `bodies` stand on the table; `extra` are further sections.

    `textured` gives table, floor and walls a white texture: it changes nothing until someone paints on it.
    """
    textures = PAINTED if textured else {}
    assets = "".join(
        f'<texture name="{name}" type="{kind}" builtin="flat" rgb1="1 1 1" width="64" height="64"/>'
        for name, kind in textures.items()
    )
    assets += "".join(
        f'<material name="{name}" rgba="{rgba}" specular="0.1" shininess="0.1"'
        + (f' texture="{name}"/>' if name in textures else "/>")
        for name, rgba in (MATERIALS | dict(materials)).items()
    )
    cameras = "".join(
        (
            _camera("front", (1.24, 0.0, 0.62), (0.52, 0.0, 0.085), 44),
            _camera("side", (0.58, -0.95, 0.55), (0.52, 0.0, 0.1), 44),
            _camera("top", (0.53, 0.0, 1.2), (0.53, 0.0, 0.0), 38),
            _camera("people", (1.35, -0.85, 0.85), (0.35, 0.0, 0.2), 42),
        )
    )
    fingers = (-tabletop_arm.SQUEEZE_M, tabletop_arm.FINGER_TRAVEL_M)
    return f"""
<mujoco model="tabletop">
<compiler angle="radian" autolimits="true"/>
<option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"/>
<visual>
  <headlight ambient="0.42 0.42 0.42" diffuse="0.25 0.25 0.25" specular="0.05 0.05 0.05"/>
  <map znear="0.02" zfar="6"/>
</visual>
<statistic extent="1" center="0.5 0 0.1"/>
<default>
  <geom contype="1" conaffinity="3" friction="0.6 0.005 0.0001"/>
  <default class="look"><geom contype="0" conaffinity="0" group="2" mass="0"/></default>
  {tabletop_arm.DEFAULTS}
</default>
<asset>{assets}</asset>
<worldbody>
  <light name="lamp" pos="0.8 -0.6 1.8" dir="-0.15 0.3 -1" directional="true" diffuse="0.5 0.5 0.5"
    specular="0.1 0.1 0.1"/>
  <light name="spare_left" pos="0.3 1.2 1.6" dir="0 -0.6 -1" directional="true" diffuse="0.4 0.4 0.4" active="false"/>
  <light name="spare_front" pos="1.6 0 1.4" dir="-0.8 0 -1" directional="true" diffuse="0.4 0.4 0.4" active="false"/>
  {cameras}
  <geom name="table" type="box" pos="0.4 0 -0.02" size="0.6 0.6 0.02" material="table" friction="0.5 0.005 0.0001"/>
  <geom name="floor" class="look" type="box" pos="0.4 0 -0.77" size="2.5 2.5 0.02" material="floor"/>
  <geom name="wall_back" class="look" type="box" pos="-1.2 0 0.8" size="0.02 2.5 1.6" material="wall"/>
  <geom name="wall_left" class="look" type="box" pos="0.4 2 0.8" size="2.5 0.02 1.6" material="wall"/>
  <body name="target" mocap="true"><site name="target" size="0.005" group="4"/></body>
  {tabletop_arm.arm_xml()}
  {bodies}
</worldbody>
<tendon>{tabletop_arm.TENDON}</tendon>
<equality>{tabletop_arm.EQUALITY}</equality>
<actuator>{osc.actuators_xml(len(tabletop_arm.LINKS), fingers)}</actuator>
{extra}
</mujoco>"""


class World:
    """One compiled model and its physics. Everything read from it is fresh after `step`, `begin` and `restore`."""

    def __init__(self, xml: str, motion: osc.Motion) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.model: Any = self.mujoco.MjModel.from_xml_string(xml)
        self.data: Any = self.mujoco.MjData(self.model)
        self.layout = self.mujoco.mjtState.mjSTATE_INTEGRATION
        self.size = self.mujoco.mj_stateSize(self.model, self.layout)
        self.arm = osc.Impedance(
            self.model, self.data, motion, tabletop_arm.HOME, speed=np.array(tabletop_arm.SPEED_RAD_S)
        )
        self.tool = self.arm.position  # (3,) m
        self.tool_matrix = self.arm.matrix.reshape(3, 3)
        self.fingers = self.data.qpos[7:9]  # (2,) m, each from the middle
        self.velocity = np.zeros(6)
        self.pads = [self.model.geom(f"{side}_finger_1").id for side in ("left", "right")]

    def position(self, body: str) -> NDArray[np.float64]:
        """(3,) m, kept up to date."""
        return self.data.xpos[self.model.body(body).id]

    def orientation(self, body: str) -> NDArray[np.float64]:
        """(4,) quaternion w, x, y, z, kept up to date."""
        return self.data.xquat[self.model.body(body).id]

    def joint(self, joint: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position and velocity of a joint, to read and, at the start, to write."""
        where = self.model.joint(joint)
        position, velocity = where.qposadr[0], where.dofadr[0]
        free = where.type[0] == self.mujoco.mjtJoint.mjJNT_FREE
        return self.data.qpos[position : position + (7 if free else 1)], self.data.qvel[
            velocity : velocity + (6 if free else 1)
        ]

    def mocap(self, body: str) -> NDArray[np.float64]:
        """(3,) m, the place of something that stands where it is put."""
        return self.data.mocap_pos[self.model.body(body).mocapid[0]]

    def geom(self, name: str) -> int:
        return int(self.model.geom(name).id)

    def held(self, geom: int) -> bool:
        """Whether both finger tips touch it."""
        pairs = self.data.contact.geom  # (contacts, 2)
        touching = pairs[(pairs == geom).any(axis=1)]
        return all((touching == pad).any() for pad in self.pads)

    def touched(self, geom: int) -> bool:
        """Whether a finger tip touches it."""
        pairs = self.data.contact.geom
        touching = pairs[(pairs == geom).any(axis=1)]
        return any((touching == pad).any() for pad in self.pads)

    @property
    def width(self) -> float:
        """m between the finger tips."""
        return float(self.fingers[0] + self.fingers[1])

    def begin(self, generator: np.random.Generator) -> None:
        """The arm at home, give or take a little; the task places its things afterwards, and calls `ready`."""
        self.mujoco.mj_resetData(self.model, self.data)
        noise = generator.uniform(-START_NOISE_RAD, START_NOISE_RAD, 7)
        self.data.qpos[:7] = tabletop_arm.HOME + noise
        self.fingers[:] = tabletop_arm.FINGER_TRAVEL_M
        self.arm.open(1.0)

    def ready(self) -> None:
        """After everything was placed."""
        self.mujoco.mj_kinematics(self.model, self.data)
        self.arm.settle()
        self.mujoco.mj_step1(self.model, self.data)

    def step(self) -> None:
        """One control period. `mj_step1` comes last, so that positions and contacts belong to the present state."""
        for _ in range(SUBSTEPS // POSTURE_EVERY):
            self.arm.hold_posture()
            self.mujoco.mj_step2(self.model, self.data)
            self.mujoco.mj_step(self.model, self.data, nstep=POSTURE_EVERY - 1)
            self.mujoco.mj_step1(self.model, self.data)

    def save(self) -> NDArray[np.float64]:
        """(size,) positions, velocities, warm start, controls and targets."""
        state = np.empty(self.size)
        self.mujoco.mj_getState(self.model, self.data, state, self.layout)
        return state

    def restore(self, state: NDArray[np.float64]) -> None:
        self.mujoco.mj_setState(self.model, self.data, state, self.layout)
        self.mujoco.mj_step1(self.model, self.data)
