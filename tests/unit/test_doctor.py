"""What the doctor concludes, on machines made up here. Real drivers are asked by `embodied doctor` itself."""

from __future__ import annotations

import os

import pytest

from embodied import doctor, drivers, environment
from embodied.errors import ConfigError
from embodied.packaging import NAMES, PROJECT

GIB = 1024**3


def ours(name: str) -> tuple[str | None, str]:
    return PROJECT, f"{name}/__init__.py"


def test_a_version_at_its_pin_is_ok_whatever_its_local_label():
    assert doctor.pins("# seen to work\ntorch==2.13.0\nray==2.60.0\n", {"torch": "2.13.0+cpu"}).state == "ok"


def test_a_version_off_its_pin_is_named_with_the_command_that_repairs_it():
    check = doctor.pins("mujoco==3.8.1\nmani_skill==3.0.1\n", {"mujoco": "4.0.0", "mani-skill": "3.0.1"})
    assert (check.state, check.found) == ("warning", "mujoco 4.0.0 instead of 3.8.1")
    assert check.fix == "pip install mujoco==3.8.1"


def test_packages_that_carry_our_mark_are_ours():
    assert doctor.ownership(ours, {"embodied": ["embodied_rl"], "numpy": ["numpy"]}).state == "ok"


def test_a_stranger_under_our_name_is_broken_and_its_distribution_is_named():
    def mark(name: str) -> tuple[str | None, str]:
        return (None, "site-packages/hardware/__init__.py") if name == "hardware" else ours(name)

    check = doctor.ownership(mark, {"hardware": ["hardware"]})
    assert check.state == "broken"
    assert "site-packages/hardware/__init__.py" in check.found
    assert check.fix.startswith("pip uninstall hardware")


def test_a_distribution_that_only_shares_our_name_is_a_warning():
    check = doctor.ownership(ours, {name: ["embodied-rl"] for name in NAMES} | {"policies": ["embodied-rl", "other"]})
    assert (check.state, check.found) == ("warning", "other also ships `policies`")


def test_an_extra_is_missing_when_one_of_its_packages_is():
    lines = ["torch", "mani_skill; extra == 'maniskill'", "sapien>=3; extra == 'maniskill'", 'ray; extra == "cluster"']
    cluster, maniskill = doctor.extras(lines, {"torch": "2", "mani-skill": "3", "sapien": "3"})
    assert (cluster.state, cluster.found) == ("missing", "without ray")
    assert cluster.fix == 'pip install -c constraints.txt -e ".[cluster]"'
    assert maniskill.state == "ok"


def test_libero_needs_a_second_command_because_its_own_requirements_break_ours():
    (check,) = doctor.extras(["embodied-rl[robosuite]; extra == 'libero'", "bddl; extra == 'libero'"], {"bddl": "1"})
    assert check.found == "without hf-libero"
    assert check.fix.endswith("--no-deps hf-libero")


@pytest.mark.parametrize(("limit", "gib"), [("max\n", 8.0), (str(2 * GIB), 2.0), (str(99 * GIB), 8.0)])
def test_memory_is_the_lesser_of_the_machine_and_its_container(limit: str, gib: float):
    assert doctor.memory_gib(8 * GIB, limit) == gib


def test_too_little_room_comes_with_advice():
    assert doctor.room("/dev/shm", 0.0625, 1, "docker run --shm-size=8g").fix == "docker run --shm-size=8g"
    assert doctor.room("/dev/shm", 1, 1, "docker run --shm-size=8g").state == "ok"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("print('noise'); print('answer: 3.0')", drivers.Answer(worked=True, text="3.0")),
        ("import sys; sys.exit(3)", drivers.Answer(worked=False, text="the process ended with status 3")),
        ("raise RuntimeError('no device')", drivers.Answer(worked=False, text="RuntimeError: no device")),
    ],
)
def test_a_child_answers_or_its_last_complaint_is_the_answer(code: str, answer: drivers.Answer):
    assert drivers.ask(code) == answer


def test_a_child_that_hangs_is_not_waited_for():
    assert drivers.ask("import time; time.sleep(60)", timeout_s=0.2) == drivers.Answer(
        worked=False, text="no answer in 0.2 s"
    )


LLVMPIPE = drivers.Answer(worked=True, text="llvmpipe (LLVM 15.0.6, 256 bits)")
FAILS = drivers.Answer(worked=False, text="ImportError: no display")


def test_what_draws_is_told_with_where_why_and_how_to_have_it_otherwise():
    check = drivers.drawing("egl", "egl", LLVMPIPE, None, gpu=False)
    assert check.state == "ok"
    assert check.found.startswith("egl (the first choice")
    assert "in software (llvmpipe (LLVM 15.0.6, 256 bits)): there is no GPU" in check.found
    assert "MUJOCO_GL=osmesa" in check.found
    on_gpu = drivers.drawing("egl", "egl", drivers.Answer(worked=True, text="NVIDIA H200/PCIe/SSE2"), None, gpu=True)
    assert "on NVIDIA H200/PCIe/SSE2. MUJOCO_EGL_DEVICE_ID takes another GPU" in on_gpu.found
    assert "as MUJOCO_GL says" in drivers.drawing("osmesa", "egl", LLVMPIPE, None, gpu=False).found
    assert "because EGL is not installed" in drivers.drawing("osmesa", "osmesa", LLVMPIPE, None, gpu=True).found


def test_a_gpu_that_does_not_draw_is_a_warning():
    check = drivers.drawing("egl", "egl", LLVMPIPE, None, gpu=True)
    assert (check.state, "NVIDIA_DRIVER_CAPABILITIES" in check.fix) == ("warning", True)


def test_where_drawing_fails_the_way_that_works_is_named_or_what_to_install():
    other = drivers.drawing("osmesa", "egl", FAILS, "egl", gpu=False)
    assert (other.state, other.fix) == ("warning", "export MUJOCO_GL=egl")
    none = drivers.drawing("glfw", None, FAILS, None, gpu=False)
    assert none.found.startswith("neither EGL nor OSMesa is installed")
    assert none.fix.startswith("sudo apt-get install libegl1")
    assert "ImportError: no display" in drivers.drawing("egl", "egl", FAILS, None, gpu=False).found


@pytest.mark.parametrize(
    ("libraries", "chosen"),
    [
        ({"egl": "libc.so.6", "osmesa": "libc.so.6"}, "egl"),
        ({"egl": "libnone.so", "osmesa": "libc.so.6"}, "osmesa"),
        ({"egl": "libnone.so", "osmesa": "libnone.so"}, None),
    ],
)
def test_mujoco_draws_with_the_first_library_that_is_there(libraries, chosen, monkeypatch):
    monkeypatch.setattr(environment, "GRAPHICS", libraries)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    environment.prepare()
    assert os.environ.get("MUJOCO_GL") == chosen
    monkeypatch.setenv("MUJOCO_GL", "disable")
    environment.prepare()
    assert os.environ["MUJOCO_GL"] == "disable"


def test_an_unknown_check_is_refused_with_the_names_of_the_others():
    with pytest.raises(ConfigError, match=r"no check `brakes`.*rendering"):
        doctor.main(["brakes"])
