"""Every YAML composes, every recipe validates, and the files say what the code says. No GPU, no simulator."""

import pytest

from embodied.compose import compose_recipe
from embodied.configs import printed
from embodied.experiments import config_dir, experiments

FILES = sorted(path for path in config_dir().rglob("*.yaml"))
OTHERS = ("configs", "experiment", "protocol", "setup")  # folders that are not groups of `embodied train`
OPTIONS = [f"{path.parent.name}={path.stem}" for path in FILES if path.parent.name not in OTHERS]


@pytest.mark.parametrize("path", printed(), ids=lambda path: str(path.relative_to(config_dir())))
def test_a_config_file_is_the_recipe_it_names(path):
    assert path.read_text() == printed()[path], "run `make configs`"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes_and_validates(option):
    compose_recipe("train", [option])


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_composes_validates_and_says_what_it_is(name):
    compose_recipe("train", [f"experiment={name}"])
    assert experiments()[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_dir())))
def test_a_config_file_is_short(path):
    assert len(path.read_text().splitlines()) <= 40
