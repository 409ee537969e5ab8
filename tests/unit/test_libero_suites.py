"""LIBERO's lists of tasks, read from its package without importing it. Skipped where the package is not installed."""

import subprocess
import sys

import numpy as np
import pytest

from embodied.compose import compose_recipe
from embodied.errors import ConfigError, PackageError
from simulators.libero import LiberoRecipe, axis_angle
from simulators.libero_suites import MAX_STEPS, choose, libero_folder, size


@pytest.fixture(autouse=True)
def _there():
    try:
        libero_folder()
    except PackageError as error:
        pytest.skip(f"LIBERO is not on this machine: {error}")


def test_the_suites_have_the_published_numbers_of_tasks_and_the_union_has_all():
    counts = {suite: len(choose(suite, ())) for suite in MAX_STEPS}
    assert counts == {"spatial": 10, "object": 10, "goal": 10, "10": 10, "90": 90}
    union = choose("130", ())
    assert len({(task.suite, task.name) for task in union}) == 130


def test_a_task_is_named_by_index_by_name_or_by_what_it_says():
    by_index = choose("object", (7,))
    assert by_index[0].instruction == "pick up the milk and place it in the basket"
    assert choose("object", ("pick_up_the_milk_and_place_it_in_the_basket",)) == by_index
    assert choose("object", ("pick up the milk and place it in the basket",)) == by_index


def test_an_instruction_does_not_name_its_scene():
    (task,) = choose("90", ("LIVING_ROOM_SCENE2_pick_up_the_butter_and_put_it_in_the_basket",))
    assert task.instruction == "pick up the butter and put it in the basket"
    assert choose("10", (0,))[0].instruction == "put both the alphabet soup and the tomato sauce in the basket"


def test_an_instruction_of_several_tasks_is_refused_with_their_names():
    names = [f"KITCHEN_SCENE{scene}_close_the_top_drawer_of_the_cabinet" for scene in (10, 5)]
    for asked in ("close the top drawer of the cabinet", "close_the_top_drawer_of_the_cabinet"):
        with pytest.raises(ConfigError, match=rf"says of 2 tasks; nothing was built.*{', '.join(names)}\."):
            choose("90", (asked,))
    assert [choose("90", (name,))[0].name for name in names] == names


def test_every_task_can_be_named_in_every_suite():
    for suite in ("90", "130"):  # where a name of one suite is an instruction of another
        for task in choose(suite, ()):
            assert choose(suite, (task.name,)) == [task]


def test_the_size_of_a_scene_is_known_before_it_is_built():
    of = size(choose("spatial", (0,))[0])  # 5 objects; 3 drawers and a knob; table, cabinet and stove
    assert (of.initial_states, of.positions, of.velocities, of.fixtures) == (50, 9 + 5 * 7 + 4, 9 + 5 * 6 + 4, 3)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("pick up the milc and place it in the basket", r"pick_up_the_milc.*Nearest: pick_up_the_milk_and_place"),
        (10, r"task 10 of LIBERO's suite object.*it has 10.*Count from 0 to 9"),
    ],
)
def test_an_unknown_task_is_one_sentence_with_the_nearest(task, told):
    with pytest.raises(ConfigError, match=told):
        choose("object", (task,))


def test_an_unknown_suite_is_one_sentence_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no suite `libero_spacial`. Nearest: spatial"):
        compose_recipe("train", ["simulator=libero", "simulator.suite=libero_spacial"])


def test_a_suite_whose_name_is_a_number_can_be_typed():
    assert compose_recipe("train", ["simulator=libero", "simulator.suite=10"]).simulator == LiberoRecipe(suite=10)


def test_listing_tasks_imports_nothing_of_libero():
    code = "import sys; from simulators.libero_suites import choose; choose('130', ()); print('libero' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_axis_and_angle_are_read_as_published_policies_read_them():
    assert axis_angle(np.array([1.0, 0, 0, 0])).tolist() == [0, 0, 0]
    np.testing.assert_allclose(axis_angle(np.array([0.0, 1, 0, 0])), [np.pi, 0, 0])
    third = np.array([np.cos(2 * np.pi / 3), 0, 0, np.sin(2 * np.pi / 3)])  # 240 degrees, not -120
    np.testing.assert_allclose(axis_angle(third), [0, 0, 4 * np.pi / 3])
