"""What is said about a name that a simulator does not have."""

from __future__ import annotations

import pytest

from simulators.nearest import nearest, unknown
from simulators.robosuite_make import SAID

MANY = [f"Task{letter}-v1" for letter in "abcdefghij"]


def test_of_many_names_only_near_ones_are_told():
    assert str(unknown("it has no task", "Taska", MANY)) == (
        "it has no task `Taska`; nothing was built. Nearest: Taska-v1, Taskb-v1, Taskc-v1."
    )


def test_a_short_list_is_told_whole():
    told = str(unknown("it has no robot", "Pnda", ["Panda", "Sawyer"]))
    assert told == "it has no robot `Pnda`; nothing was built. Nearest: Panda. There are 2: Panda, Sawyer."


def test_where_nothing_is_near_some_are_told():
    told = str(unknown("it has no task", "q", MANY))
    assert "built. There are 10: Taska-v1, Taskb-v1" in told
    assert told.endswith("Taskh-v1 and more.")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("peg", ["TwoArmPegInHole"]),
        ("twoarm", ["TwoArmLift", "TwoArmHandover", "TwoArmPegInHole", "TwoArmTransport"]),
        ("LIFT", ["Lift", "TwoArmLift"]),
        ("lift_cube", ["Lift", "TwoArmLift"]),
        ("door-open", ["Door"]),
        ("NutAssemblySq", ["NutAssemblySquare"]),
        ("PickPlaceMlk", ["PickPlaceMilk"]),
        ("Stak", ["Stack"]),
    ],
)
def test_a_name_is_found_by_its_words_however_they_are_written(name, meant):
    assert nearest(name, SAID).removeprefix("Nearest: ").split(", ")[: len(meant)] == meant


def test_what_is_in_every_name_makes_none_near():
    assert nearest("v1", MANY).startswith("There are 10: ")
