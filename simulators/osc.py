"""Cartesian impedance control of a seven-joint arm: a spring and a damper pull the tool to a moving target.

The law is that of Franka's own Cartesian impedance controller: joint torques J^T (K e - D v), gravity compensated, plus
a posture torque in the null space of the tool. Here spring and damper are actuators of the model, so MuJoCo applies
them at every step of physics, damps them implicitly and clips the sum to the torque limits of each joint; the target is
a mocap body, so it is part of the saved physics. In Python remain the target's move, once for each action, and the
posture torque, every few milliseconds.

An action moves the target. The target never leaves the tool by more than `lead`, so a blocked arm does not wind up and
pushes with at most `STIFFNESS * lead`; nor does it move faster than the joints may. Base frame, SI units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STIFFNESS = 2000.0  # N/m
DAMPING = 140.0  # N s/m: 0.8 of critical for the 4 kg that the tool of a Panda weighs
TURN_STIFFNESS = 150.0  # N m/rad
TURN_DAMPING = 10.0  # N m s/rad
POSTURE_STIFFNESS = 10.0  # N m/rad
POSTURE_DAMPING = 4.0  # N m s/rad
SPEED_MARGIN = 0.75  # of the joints' limits: the target moves no faster, and beyond it a joint is braked
BRAKE = 10.0  # N m s/rad
GRIPPER_STIFFNESS = 2000.0  # N/m
GRIPPER_DAMPING = 200.0  # N s/m: the fingers need a third of a second, as the real ones do
DOWN = (0.0, 1.0, 0.0, 0.0)  # quaternion of a tool that points down, its fingers apart along y
AXES = ("x", "y", "z", "turn_x", "turn_y", "turn_z")


def actuators_xml(joints: int, gripper_range: tuple[float, float]) -> str:
    """Springs from site `tool` to site `target`, posture torques of the joints, and the width of tendon `gripper`."""
    springs = "".join(
        f'<general name="{axis}" site="tool" refsite="target" gear="{_unit(index)}" '
        + _spring(*((STIFFNESS, DAMPING) if index < 3 else (TURN_STIFFNESS, TURN_DAMPING)))
        for index, axis in enumerate(AXES)
    )
    posture = "".join(f'<motor name="posture{index}" joint="joint{index}"/>' for index in range(1, joints + 1))
    low, high = gripper_range
    gripper = f'<general name="gripper" tendon="gripper" ctrlrange="{low} {high}" '
    return springs + posture + gripper + _spring(GRIPPER_STIFFNESS, GRIPPER_DAMPING)


def _spring(stiffness: float, damping: float) -> str:
    return f'gainprm="{stiffness}" biastype="affine" biasprm="0 {-stiffness} {-damping}"/>'


def _unit(index: int) -> str:
    return " ".join("1" if index == axis else "0" for axis in range(6))


@dataclass(frozen=True)
class Motion:
    """How far one action moves the target, and where it may go."""

    step_m: float  # along each axis
    turn_rad: float  # around each axis
    lead_m: float  # the farthest the target gets from the tool
    lead_rad: float
    tilt_rad: float  # the farthest the target turns from pointing down
    low: tuple[float, float, float]  # m, box of the target
    high: tuple[float, float, float]  # m
    period_s: float  # between actions


class Impedance:
    """Moves the target of one arm. Nothing is kept here: all state is in the physics."""

    def __init__(self, model: Any, data: Any, motion: Motion, posture: NDArray[np.float64], speed: Any) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.model, self.data, self.motion = model, data, motion
        self.home, self.max_speed = posture, SPEED_MARGIN * np.asarray(speed)  # rad, rad/s
        joints = len(posture)
        site = model.site("tool").id
        mocap = model.body("target").mocapid[0]
        first = model.actuator("posture1").id
        self.site, self.joints = site, joints
        self.position, self.matrix = data.site_xpos[site], data.site_xmat[site]
        self.target, self.target_quat = data.mocap_pos[mocap], data.mocap_quat[mocap]
        self.posture = data.ctrl[first : first + joints]
        self.width = data.ctrl[first + joints :]
        self.width_range = model.actuator_ctrlrange[first + joints]
        self.angles, self.speeds = data.qpos[:joints], data.qvel[:joints]
        self.low, self.high = np.array(motion.low), np.array(motion.high)
        self.whole = np.zeros((6, model.nv))
        self.jacobian = self.whole[:, :joints]
        self.quat, self.other = np.zeros(4), np.zeros(4)

    def settle(self) -> None:
        """The target goes to where the tool is, and points down."""
        self.target[:] = self.position
        self.target_quat[:] = DOWN

    def lead(self) -> NDArray[np.float64]:
        """(3,) m from the tool to its target."""
        return self.target - self.position

    def turn_lead(self) -> NDArray[np.float64]:
        """(3,) rotation vector from the tool's orientation to its target's, in the base frame."""
        self.mujoco.mju_mat2Quat(self.quat, self.matrix)
        return self._rotation(self.quat, self.target_quat)

    def to_yaw(self, yaw: float) -> NDArray[np.float64]:
        """(3,) rotation vector from the target's orientation to pointing down, turned by `yaw` around z."""
        wanted = np.zeros(4)
        turn = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
        self.mujoco.mju_mulQuat(wanted, turn, np.array(DOWN))
        return self._rotation(self.target_quat, wanted)

    def open(self, command: float) -> None:
        """-1 closes the fingers, 1 opens them; between, their distance."""
        low, high = self.width_range
        self.width[0] = low + (high - low) * (command + 1) / 2

    def move(self, shift: NDArray[np.float32], turn: NDArray[np.float32] | None = None) -> None:
        """Move the target by `shift` (3,) and `turn` (3,), a rotation vector, both in [-1, 1] of the range."""
        self._differentiate()
        motion = self.motion
        wanted = (self.target + shift * motion.step_m).clip(self.low, self.high)
        lead = _within(wanted - self.position, motion.lead_m)
        wanted = self.position + lead
        if turn is None:
            self.target += self._slowed(wanted - self.target, np.zeros(3))[:3]
            return
        twist = self._slowed(wanted - self.target, turn * motion.turn_rad)
        self.target += twist[:3]
        self._turn(twist[3:])

    def hold_posture(self) -> None:
        """Torques that pull the joints home without moving the tool, and brake those that are too fast."""
        self._differentiate()
        jacobian = self.jacobian
        torque = POSTURE_STIFFNESS * (self.home - self.angles) - POSTURE_DAMPING * self.speeds
        torque -= np.linalg.solve(jacobian @ jacobian.T, jacobian @ torque) @ jacobian
        torque -= BRAKE * (self.speeds - self.speeds.clip(-self.max_speed, self.max_speed))
        self.posture[:] = torque

    def _differentiate(self) -> None:
        self.mujoco.mj_jacSite(self.model, self.data, self.whole[:3], self.whole[3:], self.site)

    def _slowed(self, shift: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6,) the move, shortened until no joint must be faster than it may."""
        twist = np.concatenate([shift, turn])
        jacobian = self.jacobian
        joints = np.linalg.solve(jacobian @ jacobian.T, twist) @ jacobian
        return twist / max(1.0, float((np.abs(joints) / self.max_speed).max() / self.motion.period_s))

    def _turn(self, turn: NDArray[np.float64]) -> None:
        """Turn the target, but not farther from the tool than `lead_rad`, nor from pointing down than `tilt_rad`."""
        mujoco, wanted, tool = self.mujoco, self.other, self.quat
        mujoco.mju_mulQuat(wanted, self._quaternion(turn), self.target_quat)
        mujoco.mju_mat2Quat(tool, self.matrix)
        for center, limit in ((np.array(DOWN), self.motion.tilt_rad), (tool, self.motion.lead_rad)):
            away = self._rotation(center, wanted)
            kept = _within(away, limit)
            if kept is not away:
                mujoco.mju_mulQuat(wanted, self._quaternion(kept), center)
        self.target_quat[:] = wanted

    def _quaternion(self, turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4,) of a rotation vector (3,)."""
        angle = float(np.linalg.norm(turn))
        quat = np.zeros(4)
        self.mujoco.mju_axisAngle2Quat(quat, turn / max(angle, 1e-9), angle)
        return quat

    def _rotation(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3,) rotation vector, in the base frame, that turns quaternion `start` into `end`."""
        back, difference = np.zeros(4), np.zeros(4)
        self.mujoco.mju_negQuat(back, start)
        self.mujoco.mju_mulQuat(difference, end, back)
        turned = np.zeros(3)
        self.mujoco.mju_quat2Vel(turned, difference, 1.0)
        return turned


def _within(vector: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """`vector`, shortened to `length`; the same object if it is short enough."""
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)


def rotation_vector(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) of a rotation matrix (3, 3); continuous while it turns by less than half a turn."""
    import mujoco

    library: Any = mujoco
    quat, turned = np.zeros(4), np.zeros(3)
    library.mju_mat2Quat(quat, matrix.ravel())
    library.mju_quat2Vel(turned, quat, 1.0)
    return turned
