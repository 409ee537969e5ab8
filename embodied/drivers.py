"""Checks of `embodied doctor` that ask a driver, in a process of its own: a broken one ends the process that asks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Literal

from embodied.environment import GRAPHICS, graphics, has_gpu, loads

State = Literal["ok", "warning", "missing", "broken"]
LIBRARIES = {  # Debian's and Ubuntu's packages for each value of MUJOCO_GL
    "egl": "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libgles2",
    "osmesa": "libosmesa6",
}
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader")  # in the names of devices that are programs

DRAW = """
import mujoco
from OpenGL import GL
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0, "the picture is black"
    print("answer:", GL.glGetString(GL.GL_RENDERER).decode())
"""

PUSH_CUBE = """
import sys
import gymnasium, mani_skill.envs, sapien
env = gymnasium.make("PushCube-v1", obs_mode="state", sim_backend="physx_cpu", render_backend=sys.argv[1])
env.reset(seed=0)
lines = sapien.render.get_device_summary().splitlines()
print("answer:", next((line.removeprefix("GPU:").strip() for line in lines if line.startswith("GPU:")), "a device"))
"""


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    found: str
    fix: str = ""  # what to type, or to do


@dataclass(frozen=True)
class Answer:
    """Of a child process: the text after `answer:`, or the last line of its complaint."""

    worked: bool
    text: str


def cuda() -> Check:
    code = """
import torch
n = torch.cuda.device_count() if torch.cuda.is_available() else 0
of = [torch.cuda.get_device_properties(i) for i in range(n)]
print("answer:", ", ".join(f"{p.name} ({p.total_memory / 2**30:.0f} GiB)" for p in of))
"""
    answer = ask(code)
    if answer.worked and answer.text:
        return Check("GPU", "ok", answer.text)
    if not Path("/dev/nvidiactl").exists():
        return Check("GPU", "ok", "none; simulators and policies run on the CPU")
    found = "an NVIDIA GPU is here and torch cannot use it: " + (answer.text or "this torch was built without CUDA")
    return Check("GPU", "warning", found, "nvidia-smi (is the driver there?), then reinstall torch with CUDA")


def rendering() -> Check:
    chosen = os.environ.get("MUJOCO_GL", "glfw")  # which MuJoCo takes by itself
    answer = ask(DRAW)
    others = [name for name in GRAPHICS if name != chosen and loads(GRAPHICS[name])]
    works = next((name for name in others if not answer.worked and ask(DRAW, MUJOCO_GL=name).worked), None)
    return drawing(chosen, graphics(), answer, works, gpu=has_gpu())


def drawing(chosen: str, first: str | None, answer: Answer, works: str | None, *, gpu: bool) -> Check:
    """What MuJoCo draws with, where, why, and how to have it otherwise.

    `first` is what we choose here, `works` another one that drew where the chosen one did not.
    """
    name = "MuJoCo pictures"
    if answer.worked:
        return _drawn(name, chosen, first, answer.text, gpu=gpu)
    if works:
        return Check(
            name, "warning", f"MUJOCO_GL={chosen} fails ({answer.text}); {works} works", f"export MUJOCO_GL={works}"
        )
    if first is None:
        found = "neither EGL nor OSMesa is installed, so nothing is drawn off screen; what needs no pictures works"
        return Check(name, "warning", found, f"sudo apt-get install {LIBRARIES['egl']}")
    fix = f"sudo apt-get install {LIBRARIES['egl']}; or {LIBRARIES['osmesa']}, and export MUJOCO_GL=osmesa"
    return Check(name, "warning", f"MUJOCO_GL={chosen} fails: {answer.text}", fix)


def _drawn(name: str, chosen: str, first: str | None, device: str, *, gpu: bool) -> Check:
    why = "as MUJOCO_GL says" if chosen != first else "the first choice, which takes a GPU where its driver offers EGL"
    if chosen == first == "osmesa":
        why = "because EGL is not installed"
    other = "osmesa" if chosen == "egl" else "egl"
    otherwise = f"Otherwise: MUJOCO_GL={other}"
    if not loads(GRAPHICS[other]):
        otherwise += f", after sudo apt-get install {LIBRARIES[other]}"
    if not any(word in device.lower() for word in SOFTWARE):
        return Check(name, "ok", f"{chosen} ({why}) on {device}. MUJOCO_EGL_DEVICE_ID takes another GPU. {otherwise}")
    if gpu and chosen == "egl":
        found = f"{chosen} ({why}) in software ({device}): the GPU's driver offers no EGL"
        fix = "in a container: NVIDIA_DRIVER_CAPABILITIES=all; else install libnvidia-gl of your driver's version"
        return Check(name, "warning", found, fix)
    reason = "there is no GPU" if not gpu else "OSMesa uses no GPU"
    return Check(name, "ok", f"{chosen} ({why}) in software ({device}): {reason}. {otherwise}")


def vulkan() -> Check:
    if util.find_spec("mani_skill") is None:
        return Check("ManiSkill", "missing", "not installed", install("maniskill"))
    backends = ["gpu", "cpu"] if Path("/dev/nvidiactl").exists() else ["cpu"]
    answers = [ask(PUSH_CUBE, backend) for backend in backends]
    for backend, answer in zip(backends, answers, strict=True):
        if answer.worked:
            return Check("ManiSkill", "ok", f"PushCube was built; Vulkan ({backend}) on {answer.text}")
    fix = "make setup, or a newer system's driver: sudo apt-get install mesa-vulkan-drivers (Mesa 23 or later)"
    if has_gpu():
        fix = "sudo apt-get install libvulkan1 mesa-vulkan-drivers; in a container: NVIDIA_DRIVER_CAPABILITIES=all"
    return Check("ManiSkill", "warning", f"its Vulkan driver does not work: {answers[0].text}", fix)


def environments() -> list[Check]:
    """Those that simulators with packages of their own run in; each is asked to import its simulator."""
    from embodied.environments import EnvironmentSetup, folder_of
    from embodied.setup import load, setups

    rows: list[Check] = []
    for name in setups():
        found = load(name, [])
        if isinstance(found, EnvironmentSetup):
            problem = found.problem()
            state: State = "ok" if problem is None else "missing" if problem == "not built" else "warning"
            told = str(folder_of(name)) if problem is None else problem
            rows.append(Check(f"environment {name}", state, told, f"embodied setup {name}"))
    return rows


def install(extra: str) -> str:
    command = f'pip install -c constraints.txt -e ".[{extra}]"'
    return command + (" && pip install -c constraints.txt --no-deps hf-libero" if extra == "libero" else "")


def ask(code: str, *arguments: str, timeout_s: float = 120, **variables: str) -> Answer:
    """What a process of its own answers, with `variables` in its environment."""
    command = [sys.executable, "-c", code, *arguments]
    quiet, env = subprocess.DEVNULL, os.environ | variables
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=quiet, env=env)
    except subprocess.TimeoutExpired:
        return Answer(worked=False, text=f"no answer in {timeout_s:g} s")
    said = [line.removeprefix("answer:").strip() for line in child.stdout.splitlines() if line.startswith("answer:")]
    if child.returncode == 0 and said:
        return Answer(worked=True, text=said[-1])
    told = child.stderr.partition("Exception ignored in")[0].strip().splitlines()  # not what destructors add
    errors = [line for line in told if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    last = [*told[-1:], *errors][-1:]
    return Answer(worked=False, text=last[0] if last else f"the process ended with status {child.returncode}")
