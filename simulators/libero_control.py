"""One control step of LIBERO's arm: robosuite's operational space controller, without what surrounds it.

In each of 25 substeps robosuite computes the dynamics three times, looks names up, copies what it reads and fills
buffers that LIBERO never shows: 9 ms, of which 2 are physics. Here it takes 3 ms, and positions and velocities come out
bit for bit the same, because robosuite's own functions get the same numbers in the same order (and the same memory
order, which decides how sums are rounded).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError

Floats = NDArray[np.floating[Any]]


class Arm:
    """Moves the one robot of a robosuite environment: OSC_POSE with fixed gains and displacements, Panda's fingers."""

    def __init__(self, env: Any) -> None:
        import mujoco
        from robosuite.utils import control_utils

        self.mujoco: Any = mujoco
        self.arithmetic: Any = control_utils
        self.env, self.robot = env, env.robots[0]
        self.model, self.data = env.sim.model._model, env.sim.data._data
        self.substeps = int(env.control_timestep / env.model_timestep)
        self.low, self.high = self.robot.torque_limits
        self.torques = self.robot._ref_joint_actuator_indexes
        self.fingers = self.robot._ref_joint_gripper_actuator_indexes
        low, high = self.model.actuator_ctrlrange[self.fingers].T
        self.middle, self.half = 0.5 * (high + low), 0.5 * (high - low)
        self.pace = np.array([-1.0, 1.0]) * self.robot.gripper.speed  # of the fingers per substep
        controller, joints = self.robot.controller, len(self.robot.robot_joints)
        self.hand = self.model.site(controller.eef_name).id
        self.joints = slice(0, joints)
        simple = (controller.name, controller.impedance_mode, controller.uncoupling, controller.use_delta)
        bare = (controller.interpolator_pos, controller.interpolator_ori)
        first = list(controller.qpos_index) == list(controller.qvel_index) == list(range(joints))
        if simple != ("OSC_POSE", "fixed", True, True) or bare != (None, None) or not first:
            raise ConfigError(
                f"LIBERO's robot is driven by {simple} with interpolators {bare}, and OSC_POSE with fixed gains was "
                f"expected; nothing was built. Install the version of robosuite that constraints.txt names."
            )
        self.jacobian = np.zeros((2, 3, self.model.nv))
        self.mass = np.zeros((self.model.nv, self.model.nv))

    def step(self, action: Floats) -> None:
        """`action` (7,) as robosuite takes it: +1 closes the gripper."""
        controller, gripper, data = self.robot.controller, self.robot.gripper, self.data
        move = self.pace * np.sign(action[-1])
        for substep in range(self.substeps):
            self.mujoco.mj_step1(self.model, data)
            if controller.new_update:  # false before the first substep of an episode, as in robosuite
                self._view(controller)
            if substep == 0:
                controller.set_goal(action[:6])
            gripper.current_action = np.clip(gripper.current_action + move, -1.0, 1.0)
            data.ctrl[self.fingers] = self.middle + self.half * gripper.current_action
            data.ctrl[self.torques] = np.clip(self._torques(controller), self.low, self.high)
            controller.new_update = True
            self.mujoco.mj_step2(self.model, data)

    def _view(self, c: Any) -> None:
        """What the controller sees of the arm."""
        data, joints = self.data, self.joints
        (linear, angular), velocity = self.jacobian, data.qvel
        self.mujoco.mj_jacSite(self.model, data, linear, angular, self.hand)
        self.mujoco.mj_fullM(self.model, self.mass, data.qM)
        c.ee_pos, c.ee_ori_mat = data.site_xpos[self.hand].copy(), data.site_xmat[self.hand].reshape(3, 3).copy()
        c.ee_pos_vel, c.ee_ori_vel = np.dot(linear, velocity), np.dot(angular, velocity)
        c.joint_pos, c.joint_vel = data.qpos[joints].copy(), velocity[joints].copy()
        c.J_pos, c.J_ori = (np.asfortranarray(x[:, joints]) for x in self.jacobian)  # robosuite's order of columns
        c.J_full = np.concatenate([c.J_pos, c.J_ori])
        c.mass_matrix = np.asfortranarray(self.mass[joints, joints])
        c.new_update = False

    def _torques(self, c: Any) -> Floats:
        """(7,) of operational space control (Khatib 1987): a wrench at the hand, and a posture that leaves it alone."""
        turn = self.arithmetic.orientation_error(c.goal_ori, c.ee_ori_mat)
        force = (c.goal_pos - c.ee_pos) * c.kp[:3] + -c.ee_pos_vel * c.kd[:3]
        torque = turn * c.kp[3:] + -c.ee_ori_vel * c.kd[3:]
        _, inertia, rotational, posture = self.arithmetic.opspace_matrices(c.mass_matrix, c.J_full, c.J_pos, c.J_ori)
        wrench = np.concatenate([np.dot(inertia, force), np.dot(rotational, torque)])
        torques = np.dot(c.J_full.T, wrench) + self.data.qfrc_bias[self.joints]
        return torques + self.arithmetic.nullspace_torques(
            c.mass_matrix, posture, c.initial_joint, c.joint_pos, c.joint_vel
        )
