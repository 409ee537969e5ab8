"""What the doctor concludes, on machines made up here. Real drivers are asked by `embodied doctor` itself."""

from __future__ import annotations

import pytest

from embodied import doctor
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
        ("print('noise'); print('answer: 3.0')", doctor.Answer(worked=True, text="3.0")),
        ("import sys; sys.exit(3)", doctor.Answer(worked=False, text="the process ended with status 3")),
        ("raise RuntimeError('no device')", doctor.Answer(worked=False, text="RuntimeError: no device")),
    ],
)
def test_a_child_answers_or_its_last_complaint_is_the_answer(code: str, answer: doctor.Answer):
    assert doctor.ask(code) == answer


def test_a_child_that_hangs_is_not_waited_for():
    assert doctor.ask("import time; time.sleep(60)", timeout_s=0.2) == doctor.Answer(
        worked=False, text="no answer in 0.2 s"
    )


def test_an_unknown_check_is_refused_with_the_names_of_the_others():
    with pytest.raises(ConfigError, match=r"no check `brakes`.*rendering"):
        doctor.main(["brakes"])
