"""A Franka Panda with its hand in capsules, boxes and cylinders, as MJCF text made from tables.

Frames and limits are Franka's (Denavit-Hartenberg table and `control parameters` of its documentation), masses and
inertias those that Gaz et al. identified (RA-L 2019) and Franka ships with its robot description, the hand's numbers
are Franka's own. No mesh and no texture: the shapes follow the collision capsules of that description, so that a
picture takes under a millisecond and a step of physics some ten microseconds. SI units, frame of the robot's base.

Published nowhere is how much of its rotors a joint feels behind the inner torque loop: `ARMATURE` is what others use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TORQUE_NM = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
SPEED_RAD_S = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
ARMATURE = 0.1  # kg m^2
JOINT_DAMPING = 0.5  # N m s / rad
FINGER_TRAVEL_M = 0.04
OPEN_WIDTH_M = 2 * FINGER_TRAVEL_M
SQUEEZE_M = 0.01  # a closed hand aims this far behind zero, so that it also holds thin things
TOOL_M = 0.1034  # from the hand's flange to the middle of the finger tips

HOME = np.array([0.0, -0.1785, 0.0, -2.7127, 0.0, 2.5342, np.pi / 4])  # tool at (0.40, 0, 0.18), pointing down


@dataclass(frozen=True)
class Link:
    """One moving link: the frame of its joint in the link before, its mass, and its shape."""

    name: str
    pos: tuple[float, float, float]  # m, of the joint in the frame of the link before
    turn: float  # quarter turns around x from the frame of the link before
    limits: tuple[float, float]  # rad
    mass: float  # kg
    com: tuple[float, float, float]  # m
    inertia: tuple[float, float, float, float, float, float]  # kg m^2: xx, yy, zz, xy, xz, yz, around the com
    shape: tuple[str, ...]  # geoms


def _round(kind: str, start: str, end: str, radius: float, material: str) -> str:
    return f'type="{kind}" fromto="{start} {end}" size="{radius}" material="{material}"'


def _capsule(start: str, end: str, radius: float, material: str = "panda_white") -> str:
    return _round("capsule", start, end, radius, material)


def _cylinder(start: str, end: str, radius: float, material: str = "panda_white") -> str:
    return _round("cylinder", start, end, radius, material)


def _box(pos: str, half: str, material: str = "panda_white") -> str:
    return f'type="box" pos="{pos}" size="{half}" material="{material}"'


BASE = (
    _cylinder("0 0 0", "0 0 0.14", 0.075),
    _box("-0.09 0 0.05", "0.06 0.06 0.05"),
    _cylinder("0 0 0.138", "0 0 0.146", 0.066, "panda_dark"),
)
LINKS = (
    Link(
        name="link1",
        pos=(0, 0, 0.333),
        turn=0,
        limits=(-2.8973, 2.8973),
        mass=4.970684,
        com=(0.003875, 0.002081, -0.04762),
        inertia=(0.70337, 0.70661, 0.0091170, -0.00013900, 0.0067720, 0.019169),
        shape=(_cylinder("0 0 -0.187", "0 0 -0.02", 0.062),),
    ),
    Link(
        name="link2",
        pos=(0, 0, 0),
        turn=-1,
        limits=(-1.7628, 1.7628),
        mass=0.646926,
        com=(-0.003141, -0.02872, 0.003495),
        inertia=(0.0079620, 0.028110, 0.025995, -0.003925, 0.010254, 0.000704),
        shape=(_cylinder("0 0 -0.075", "0 0 0.075", 0.064), _capsule("0 -0.02 0", "0 -0.12 0", 0.06)),
    ),
    Link(
        name="link3",
        pos=(0, -0.316, 0),
        turn=1,
        limits=(-2.8973, 2.8973),
        mass=3.228604,
        com=(0.027518, 0.039252, -0.066502),
        inertia=(0.037242, 0.036155, 0.010830, -0.004761, -0.011396, -0.012805),
        shape=(
            _cylinder("0 0 -0.184", "0 0 -0.176", 0.0615, "panda_dark"),
            _capsule("0 0 -0.17", "0 0 -0.08", 0.058),
            _capsule("0.01 0 -0.08", "0.0825 0 0", 0.05),
        ),
    ),
    Link(
        name="link4",
        pos=(0.0825, 0, 0),
        turn=1,
        limits=(-3.0718, -0.0698),
        mass=3.587895,
        com=(-0.05317, 0.104419, 0.027454),
        inertia=(0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
        shape=(
            _cylinder("0 0 -0.07", "0 0 0.07", 0.06),
            _cylinder("0 0 -0.073", "0 0 0.073", 0.045, "panda_dark"),
            _capsule("-0.01 0.02 0", "-0.0825 0.085 0", 0.052),
        ),
    ),
    Link(
        name="link5",
        pos=(-0.0825, 0.384, 0),
        turn=-1,
        limits=(-2.8973, 2.8973),
        mass=1.225946,
        com=(-0.011953, 0.041065, -0.038437),
        inertia=(0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
        shape=(
            _capsule("0 0 -0.26", "0 0.01 -0.2", 0.056),
            _capsule("0 0.03 -0.2", "0 0.075 -0.05", 0.035),
            _capsule("0 0.075 -0.05", "0 0.02 0", 0.038),
        ),
    ),
    Link(
        name="link6",
        pos=(0, 0, 0),
        turn=1,
        limits=(-0.0175, 3.7525),
        mass=1.666555,
        com=(0.060149, -0.014117, -0.010517),
        inertia=(0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
        shape=(
            _cylinder("0 0 -0.075", "0 0 0.06", 0.05),
            _cylinder("0 0 -0.078", "0 0 0.063", 0.036, "panda_dark"),
            _capsule("0.02 0 0", "0.088 0.005 0", 0.045),
        ),
    ),
    Link(
        name="link7",
        pos=(0.088, 0, 0),
        turn=1,
        limits=(-2.8973, 2.8973),
        mass=0.735522,
        com=(0.010517, -0.004252, 0.061597),
        inertia=(0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
        shape=(
            _cylinder("0 0 -0.045", "0 0 0.08", 0.046),
            _cylinder("0 0 0.08", "0 0 0.107", 0.034, "panda_dark"),
            _box("0.052 0 0.07", "0.02 0.024 0.012", "panda_grey"),
        ),
    ),
)
HAND = (
    _box("0 0 0.03", "0.031 0.1 0.03"),
    _box("0 0 0.062", "0.02 0.094 0.006", "panda_dark"),
)
FINGER = (  # along +y of the finger's own frame
    _box("0 0.0125 0.02", "0.0095 0.0065 0.018", "panda_grey"),
    _box("0 0.0076 0.0455", "0.009 0.0076 0.0095", "panda_dark") + ' class="pad"',
)

DEFAULTS = f"""
<default class="arm">
  <joint axis="0 0 1" armature="{ARMATURE}" damping="{JOINT_DAMPING}" actuatorgravcomp="true"/>
  <geom contype="2" conaffinity="1" friction="0.6 0.005 0.0001"/>
  <default class="finger">
    <joint type="slide" axis="0 1 0" range="0 {FINGER_TRAVEL_M}" armature="0.1" damping="1"
      solreflimit="0.006 1" solimplimit="0.99 0.999 0.001"/>
    <default class="pad"><geom friction="1.5 0.02 0.0001" condim="4" solref="0.01 1"/></default>
  </default>
</default>"""

MATERIALS = {
    "panda_white": "0.93 0.94 0.95 1",
    "panda_grey": "0.55 0.57 0.6 1",
    "panda_dark": "0.17 0.18 0.2 1",
}

MIRROR = "0 0 0 1"  # half a turn around z
TENDON = """
<fixed name="gripper">
  <joint joint="finger_joint1" coef="0.5"/><joint joint="finger_joint2" coef="0.5"/>
</fixed>"""
EQUALITY = """
<joint name="fingers" joint1="finger_joint1" joint2="finger_joint2" solref="0.01 1" solimp="0.95 0.99 0.001"/>"""


def arm_xml() -> str:
    """The arm on its base, as the text of one MJCF body; joint1 to joint7, finger_joint1 and 2, site `tool`."""
    inner = _hand_xml()
    for index in range(len(LINKS), 0, -1):
        inner = _link_xml(LINKS[index - 1], index, inner)
    base = _geoms("link0", BASE)
    return f'<body name="link0" childclass="arm">\n{base}\n{inner}\n</body>'


def _link_xml(link: Link, index: int, inner: str) -> str:
    half = np.sqrt(0.5) if link.turn else 0.0
    quat = f"{1 - abs(link.turn) + half} {half * link.turn} 0 0"
    torque = TORQUE_NM[index - 1]
    return f"""
<body name="{link.name}" pos="{_text(link.pos)}" quat="{quat}" gravcomp="1">
  <inertial mass="{link.mass}" pos="{_text(link.com)}" fullinertia="{_text(link.inertia)}"/>
  <joint name="joint{index}" range="{_text(link.limits)}" actuatorfrcrange="{-torque} {torque}"/>
  {_geoms(link.name, link.shape)}{inner}
</body>"""


def _hand_xml() -> str:
    fingers = "".join(
        f"""
<body name="{side}_finger" pos="0 0 0.0584" quat="{quat}" gravcomp="1" childclass="finger">
  <inertial mass="0.015" pos="0 0 0" diaginertia="2.375e-6 2.375e-6 7.5e-7"/>
  <joint name="finger_joint{index}"/>
  {_geoms(f"{side}_finger", FINGER)}
</body>"""
        for index, side, quat in ((1, "left", "1 0 0 0"), (2, "right", MIRROR))
    )
    return f"""
<body name="hand" pos="0 0 0.107" euler="0 0 {-np.pi / 4}" gravcomp="1">
  <inertial mass="0.73" pos="-0.01 0 0.03" diaginertia="0.001 0.0025 0.0017"/>
  {_geoms("hand", HAND)}
  <site name="tool" pos="0 0 {TOOL_M}" size="0.005" group="4"/>
  <camera name="wrist" pos="0.085 0 0.03" xyaxes="0 1 0 0.94 0 0.34" fovy="80"/>{fingers}
</body>"""


def _geoms(owner: str, shape: tuple[str, ...]) -> str:
    return "".join(f'<geom name="{owner}_{index}" {geom}/>' for index, geom in enumerate(shape))


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(str(number) for number in numbers)
