"""Things on the tabletop as MJCF text: names, sizes, masses and friction. Lengths in m, masses in kg."""

from __future__ import annotations

CUBE = 0.025  # half an edge
TIP = 0.009  # half a finger tip, in the direction of a push
PEG = (0.015, 0.06)  # half its width, half its length
HOLE = 0.018  # half its width
HANDLE_M = 0.06  # height of the drawer's handle


def ball(radius: float) -> str:
    """A place in the air."""
    return f"""
<body name="goal" mocap="true"><geom name="goal" class="look" type="sphere" size="{radius}" material="ball"/></body>"""


def disc(name: str, radius: float) -> str:
    """A red target with a white ring, lying on the table."""
    rings = ((radius, "goal", 0.0005), (0.7 * radius, "goal_inner", 0.001), (0.4 * radius, "goal", 0.0015))
    geoms = "".join(
        f'<geom name="{name}_{index}" class="look" type="cylinder" size="{size} {height}" material="{material}"/>'
        for index, (size, material, height) in enumerate(rings)
    )
    return f'<body name="{name}" mocap="true">{geoms}</body>'


def cube(name: str, material: str, half: float = CUBE, mass: float = 0.1) -> str:
    return f"""
<body name="{name}"><freejoint name="{name}"/>
  <geom name="{name}" type="box" size="{half} {half} {half}" mass="{mass}" material="{material}" condim="4"
    friction="0.8 0.01 0.0001"/>
</body>"""


def peg() -> str:
    width, length = PEG
    return f"""
<body name="peg"><freejoint name="peg"/>
  <geom name="peg" type="box" size="{width} {width} {length}" mass="0.08" material="peg" condim="4"
    friction="0.8 0.01 0.0001"/>
</body>"""


def block() -> str:
    """Four walls around a hole, and a dark floor, so that a camera sees where it is."""
    wall, height = 0.012, 0.02
    reach = HOLE + 2 * wall
    sides = (
        (HOLE + wall, 0, wall, reach),
        (-HOLE - wall, 0, wall, reach),
        (0, HOLE + wall, HOLE, wall),
        (0, -HOLE - wall, HOLE, wall),
    )
    walls = "".join(
        f'<geom name="block_{index}" type="box" pos="{x} {y} {height}" size="{half_x} {half_y} {height}" '
        f'material="block"/>'
        for index, (x, y, half_x, half_y) in enumerate(sides)
    )
    floor = f'<geom name="hole" class="look" type="box" pos="0 0 0" size="{HOLE} {HOLE} 0.001" material="hole"/>'
    return f'<body name="block" mocap="true">{walls}{floor}</body>'


def cabinet() -> str:
    """Open towards the robot; the drawer slides along -x. Its front is where the cabinet's body is."""

    def box(name: str, pos: str, half: str, material: str, more: str = "") -> str:
        return f'<geom name="{name}" type="box" pos="{pos}" size="{half}" material="{material}" {more}/>'

    light = 'mass="0.05" friction="0.2 0.005 0.0001"'
    shell = (
        box("cabinet_top", "0.11 0 0.086", "0.1 0.1 0.004", "cabinet")
        + box("cabinet_left", "0.11 0.096 0.041", "0.1 0.004 0.041", "cabinet")
        + box("cabinet_right", "0.11 -0.096 0.041", "0.1 0.004 0.041", "cabinet")
        + box("cabinet_back", "0.206 0 0.041", "0.004 0.092 0.041", "cabinet")
    )
    drawer = (
        box("drawer_front", "0.005 0 0.044", "0.005 0.089 0.036", "drawer", light)
        + box("drawer_floor", "0.095 0 0.014", "0.085 0.085 0.003", "drawer", light)
        + box("handle_left", f"-0.02 0.04 {HANDLE_M}", "0.02 0.005 0.006", "handle", light)
        + box("handle_right", f"-0.02 -0.04 {HANDLE_M}", "0.02 0.005 0.006", "handle", light)
        + f'<geom name="handle" type="capsule" fromto="-0.045 -0.045 {HANDLE_M} -0.045 0.045 {HANDLE_M}" size="0.007" '
        f'material="handle" {light}/>'
    )
    return f"""
<body name="cabinet" mocap="true">{shell}
  <body name="drawer">
    <joint name="drawer" type="slide" axis="-1 0 0" range="0 0.18" damping="4" frictionloss="0.5" armature="0.1"/>
    {drawer}
  </body>
</body>"""
