import pytest

from embodied.algorithms.ppo import PPO
from embodied.compose import compose_config, compose_recipe, override
from embodied.config import from_dict, recipe, to_dict, yaml_of
from embodied.errors import ConfigError


def test_an_override_reaches_the_recipe():
    assert compose_recipe("train", ["algorithm.clip_low=0.1"]).algorithm.clip_low == 0.1


def test_an_experiment_overrides_the_defaults_and_the_command_line_overrides_both():
    run = compose_recipe("train", ["experiment=push_cube_ppo", "algorithm.lam=0.5"])
    assert run.simulator.task == "PushCube-v1"
    assert (run.algorithm.gamma, run.algorithm.lam) == (0.8, 0.5)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("algorithm.clipp_low=0.1", "there is no setting `algorithm.clipp_low`.*Did you mean `algorithm.clip_low`"),
        ("clip_low=0.1", "Did you mean `algorithm.clip_low`"),
        ("sed=1", "Did you mean `seed`"),
        ("simulator=reech", "there is no simulator `reech`.*Did you mean `simulator=reach`"),
        ("experiment=pick_cube", "Did you mean `experiment=pick_cube_ppo`"),
        ("algorithm.gamma=1.5", "algorithm.gamma: .*less than or equal to 1.*found 1.5"),
        ("algorithm.gamma=high", "algorithm.gamma: .*valid number.*found 'high'"),
        ("algorithm.epochs=0", "algorithm.epochs: .*greater than or equal to 1"),
        ("policy.values=action", "policy.values=action differ: set both"),
        ("algorithm.gamma", "`algorithm.gamma` is not a setting.*key=value"),
        ("group_size=3", "group_size=3 does not divide simulator.num_envs=16"),
        ("algorithm._target_=os.system", "os is not one of our modules|not a recipe"),
        ("algorithm._target_=antigravity.PPO", "antigravity is not one of our modules; nothing was imported"),
        ("algorithm._target_=embodied.types.Spec", "not a recipe"),
        ("algorithm._target_=5", "not module.Class"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_field_and_what_to_do(word, told):
    with pytest.raises(ConfigError, match=told) as caught:
        compose_recipe("train", [word])
    assert "\n" not in str(caught.value)


def test_a_policy_in_the_simulators_place_is_refused_before_anything_is_built():
    config = compose_config("train", [])
    with pytest.raises(ConfigError, match=r"simulator: .*EnvRecipe"):
        from_dict(config | {"simulator": config["policy"]})


def test_ratios_coarser_than_values_are_refused():
    with pytest.raises(ValueError, match="ratio=decision cannot use values=action"):
        PPO(values="action", ratio="decision")


def test_a_recipe_survives_the_run_folder():
    run = compose_recipe("train", ["experiment=reach_ppo"])
    assert from_dict(to_dict(run)) == run


def test_override_changes_one_nested_value_and_refuses_unknown_ones():
    config = {"simulator": {"_target_": "simulators.reach.ReachRecipe", "num_envs": 4}, "seeds": [0]}
    changed = override(config, ["simulator.num_envs=2", "seeds=[1,2]"])
    assert changed["simulator"]["num_envs"] == 2
    assert changed["seeds"] == [1, 2]
    with pytest.raises(ConfigError, match=r"Did you mean `simulator\.num_envs`"):
        override(config, ["simulator.num_env=2"])


@recipe
class Spoken:
    speed: float = 1.5  # m/s
    names: tuple[str, ...] = ("a", "b")
    limit: int | None = None
    required: str


def test_the_printed_yaml_holds_every_field_its_default_and_its_comment():
    assert yaml_of(Spoken).splitlines()[1:] == [
        "speed: 1.5  # m/s",
        'names: ["a", "b"]',
        "limit: null",
        "required: ???",
    ]
