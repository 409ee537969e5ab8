"""The processes of an evaluation: the same table however many there are, no step in vain, no death final."""

from dataclasses import replace

import pytest
import torch

from embodied.config import recipe
from embodied.errors import ConfigError, EnvProcessError, NonFiniteError
from embodied.evaluation.films import _play
from embodied.evaluation.jobs import jobs_of
from embodied.evaluation.player import Player, check_fits
from embodied.evaluation.queue import NarrowEnough, Queue
from embodied.evaluation.team import Team, players
from embodied.interfaces import EnvRecipe
from embodied.noise import EpisodeNoise
from embodied.types import Array, Weights
from policies.mlp import MLPRecipe
from simulators.reach import ReachRecipe
from simulators.subprocess_env import SubprocessEnv
from tests.counting import CountingRecipe
from tests.evaluated import played, trained
from tests.made import Says, vectors

REACH = ReachRecipe(num_envs=3, tolerance=0.5, max_steps=9)
POLICY = MLPRecipe(hidden=(16,), chunk=2, initial_std=0.9)
COUNT = CountingRecipe(num_envs=2, max_steps=(4, 7))


@recipe
class Shards:
    """Environments in processes of their own."""

    parts: tuple[EnvRecipe, ...]

    @property
    def num_envs(self):
        return sum(part.num_envs for part in self.parts)

    def build(self):
        return SubprocessEnv(self.parts)

    def shards(self):
        return list(self.parts)


def table(simulator, *, explore=True, policy=POLICY, enough=None, patience_s=60.0, max_steps=None, **asked):
    """The episodes that count, in order, without the environment that played them."""
    recipes, in_processes = players(simulator, policy, max_steps=max_steps, explore=explore)
    team = Team(recipes, in_processes=in_processes, patience_s=patience_s)
    try:
        team.load(Weights(0, trained(policy, team.spec).weights))
        queue = Queue(jobs_of(team.spec, **asked), num_envs=team.spec.num_envs, enough=enough)
        team.play(queue)
    finally:
        team.close()
    return [replace(episode, env=0) for _, episode in queue.counted()]


@pytest.mark.parametrize("explore", [False, True], ids=["likeliest", "sampled"])
def test_the_table_is_the_same_for_any_number_of_environments_and_processes(explore):
    asked = {"episodes": 13, "seeds": (0, 5), "repeats": 2, "explore": explore}
    one = table(replace(REACH, num_envs=1), **asked)
    assert len(one) == 52
    assert 0 < sum(e.success_once for e in one) < 52
    assert table(replace(REACH, num_envs=7), **asked) == one
    assert table(Shards(parts=(REACH, replace(REACH, num_envs=2))), **asked) == one


def test_an_evaluation_that_stops_early_is_the_same_for_any_number_of_processes():
    asked = {"episodes": 200, "enough": NarrowEnough(0.35)}
    one = table(replace(REACH, num_envs=1), **asked)
    assert 5 < len(one) < 60
    assert table(Shards(parts=(REACH, REACH)), **asked) == one
    assert table(replace(REACH, num_envs=16), **asked) == one


def test_repeats_of_a_start_differ_only_where_actions_are_sampled():
    sampled, likeliest = (table(REACH, episodes=4, repeats=2, explore=e) for e in (True, False))
    assert [e.seed for e in sampled[:4]] == [e.seed for e in sampled[4:]]
    assert all(a.reward != b.reward for a, b in zip(sampled[:4], sampled[4:], strict=True))
    assert [replace(e, index=0) for e in likeliest[:4]] == [replace(e, index=0) for e in likeliest[4:]]


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("in_processes", [False, True])
def test_the_simulator_does_as_many_steps_as_the_episodes_have(chunk, in_processes, tmp_path):
    """Time limits inside chunks, successes inside chunks, environments that are done before others."""
    tally = tmp_path / "tally"
    env = CountingRecipe(num_envs=3, max_steps=(4, 50), length=11, tally=str(tally))
    policy = MLPRecipe(hidden=(8,), chunk=chunk)
    found = table(Shards(parts=(env, env)) if in_processes else env, policy=policy, episodes=11)
    assert {(e.task, e.steps, e.success_once) for e in found} == {(0, 4, False), (1, 11, True)}
    assert sum(map(int, tally.read_text().split())) == sum(e.steps for e in found) == 6 * 4 + 5 * 11


def test_environments_in_processes_of_the_simulator_rest_as_well(tmp_path):
    tally = tmp_path / "tally"
    env = CountingRecipe(num_envs=2, max_steps=(4, 7), tally=str(tally))
    found = played(SubprocessEnv([env, env]), Says([[0.1], [0.2], [0.3]]), episodes=7)
    assert sum(map(int, tally.read_text().split())) == sum(e.steps for e in found) == 4 * 4 + 3 * 7


@pytest.mark.parametrize("breaks", ["exit", "raise", "sleep"])
def test_a_process_that_dies_or_hangs_once_costs_no_episode(breaks, tmp_path):
    well = table(COUNT, episodes=10)
    dies = replace(COUNT, breaks=breaks, breaks_at=3, once=str(tmp_path / "died"))
    assert table(Shards(parts=(dies, COUNT)), episodes=10, patience_s=2.0) == well
    assert (tmp_path / "died").exists()


def test_an_episode_that_always_kills_its_process_is_lost_by_name_and_no_other(caplog):
    well = table(COUNT, episodes=10)
    dies = replace(COUNT, breaks="exit", breaks_at=3, at_seed=well[4].seed)
    found = table(Shards(parts=(dies, dies)), episodes=10)
    assert [e.index for e in found if e.lost] == [4]
    assert [e for e in found if not e.lost] == [e for e in well if e.index != 4]
    assert "every time that episode 4 of seed 0 was played" in caplog.text


def test_an_episode_that_was_lost_inside_the_simulator_is_played_again(tmp_path):
    dies = replace(COUNT, num_envs=1, breaks="exit", breaks_at=3, once=str(tmp_path / "died"))
    env = SubprocessEnv([replace(COUNT, num_envs=1), dies])
    found = played(env, Says([[0.5]]), episodes=6)
    assert [(e.index, e.steps, e.lost) for e in found] == [(i, (4, 7)[i % 2], False) for i in range(6)]


def test_processes_that_always_die_end_the_evaluation(monkeypatch):
    monkeypatch.setattr("embodied.evaluation.team.DEATHS_IN_A_ROW", 3)
    with pytest.raises(EnvProcessError, match=r"No episode ended between 3 deaths.*what is whole is kept"):
        table(Shards(parts=(replace(COUNT, breaks="exit"),) * 2), episodes=100)


def test_what_is_not_a_number_ends_the_evaluation():
    with pytest.raises(NonFiniteError, match="reward from the simulator is NaN"):
        table(replace(COUNT, breaks="nan"), episodes=2)
    with pytest.raises(NonFiniteError, match="policy's action is NaN"):
        played(COUNT.build(), Says([[float("nan")]]), episodes=2)


def test_a_policy_that_does_not_fit_is_refused_in_one_sentence():
    eyes = {"state": Array((4,)), "rgb/front": Array((64, 64, 3), torch.uint8)}
    sees = replace(vectors(), obs=eyes)
    with pytest.raises(ConfigError, match=r"trained to see rgb/front 64x64x3 uint8, and this simulator shows state;"):
        check_fits(sees, vectors())
    small = replace(vectors(), obs=eyes | {"rgb/front": Array((32, 32, 3), torch.uint8)})
    with pytest.raises(ConfigError, match=r"rgb/front 64x64x3 uint8, and .* shows rgb/front 32x32x3 uint8"):
        check_fits(sees, small)
    with pytest.raises(ConfigError, match=r"actions of 2 numbers, and this simulator takes 7"):
        check_fits(vectors(), replace(vectors(), action_dim=7))
    knows = replace(vectors(), obs={"state": Array((4,)), "task": Array((), torch.int64)}, tasks=("a", "b"))
    with pytest.raises(ConfigError, match=r"knows 2 tasks by their index, and this simulator has 3"):
        check_fits(knows, replace(knows, tasks=("a", "b", "c")))
    check_fits(vectors(), sees)


def test_the_noise_of_an_episode_is_its_own():
    def noise(*seeds):
        return EpisodeNoise([torch.Generator().manual_seed(seed) for seed in seeds])

    both, second = noise(1, 2), noise(2)
    for _ in range(2):
        torch.testing.assert_close(both.normal(torch.empty(2, 5))[1], second.normal(torch.empty(1, 5))[0])


def test_a_film_shows_each_episode_to_its_own_end():
    env = CountingRecipe(num_envs=2, max_steps=(2, 5)).build()
    jobs = jobs_of(env.spec, episodes=2).all
    takes = _play(env, Player(env, Says([[0.5]])), dict(enumerate(jobs)))
    counted = [[int(tile[128, 128, 0]) for tile in take.tiles] for take in takes]
    assert counted == [[0, 1, 2], [0, 1, 2, 3, 4, 5]]
