"""`embodied evaluate` as a user starts it: protocols, tables, summaries, videos; stopped, killed and continued."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from embodied.cli import run
from embodied.compose import compose_config
from embodied.config import from_dict, recipe
from embodied.errors import ConfigError
from embodied.evaluate import load_evaluation, main
from embodied.evaluation.films import film_outcomes
from embodied.evaluation.folder import read_episodes
from embodied.evaluation.jobs import jobs_of
from embodied.evaluation.protocol import EvaluationRecipe, protocols, read_protocol, settled
from embodied.evaluation.run import Part, Result, Trained, evaluate
from embodied.evaluation.summary import summary_of
from embodied.metrics.intervals import wilson
from embodied.types import Episode
from policies.mlp import MLPRecipe
from simulators.reach import ReachRecipe
from tests.made import vectors

SMALL = [
    "experiment=reach_ppo",
    "total_steps=2048",
    "simulator.num_envs=4",
    "evaluate=6",
    "film=0",
    "policy.hidden=[16]",
]
NO_FILM = ["film=0", "film_outcomes=0"]


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert run(["train", *SMALL, f"run_dir={folder}", "seed=3"]) == 0
    return folder


def evaluated(folder, out, *words):
    assert main([str(folder), f"out={out}", *NO_FILM, *words]) == 0
    return json.loads((out / "summary.json").read_text())


def tables(out):
    return {path.name: path.read_text() for path in out.glob("episodes-*.csv")}


def without_env(text):
    return sorted([cell for i, cell in enumerate(row.split(",")) if i != 1] for row in text.splitlines())


def test_the_last_evaluation_of_a_run_is_one_like_any_other(trained_run, tmp_path):
    final = trained_run / "evaluation" / "final"
    evaluated(trained_run, tmp_path, "episodes=6")
    assert tables(tmp_path) == tables(final)
    assert main([str(trained_run), f"out={final}", *NO_FILM, "episodes=6"]) == 0  # all of it is there already


def test_an_evaluation_that_is_killed_continues_to_the_same_table(trained_run, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    table, kept = out / "episodes-seed0.csv", ""
    words = ["episodes=1500", "simulator.num_envs=2", "actions=sampled"]
    evaluated(trained_run, whole, *words)
    command = [sys.executable, "-m", "embodied.cli", "evaluate", str(trained_run), f"out={out}", *NO_FILM, *words]
    for _ in range(2):
        rows = kept.count("\n") + 20
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not table.exists() or table.read_text().count("\n") < rows):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "summary.json").exists()
        text = table.read_text()
        kept = text[: text.rfind("\n") + 1]
        table.write_text(kept + "1499,0,0,-1,17")  # torn
    evaluated(trained_run, out, *words, "simulator.num_envs=3")
    assert without_env(table.read_text()) == without_env((whole / table.name).read_text())
    assert set(kept.splitlines()) <= set(table.read_text().splitlines())  # what was whole was not played again


@pytest.mark.parametrize("size", [0, 20])
def test_a_header_that_is_torn_or_missing_is_written_again(size, trained_run, tmp_path):
    evaluated(trained_run, tmp_path, "episodes=4")
    table = tmp_path / "episodes-seed0.csv"
    whole = table.read_text()
    table.write_text(whole[:size])
    evaluated(trained_run, tmp_path, "episodes=4")
    assert without_env(table.read_text()) == without_env(whole)
    table.write_text(whole[whole.index("\n") + 1 :])
    with pytest.raises(ConfigError, match=r"episodes-seed0.csv line 1 is not an episode \(its first line names no col"):
        evaluated(trained_run, tmp_path, "episodes=4")


def test_ctrl_c_keeps_what_is_whole_and_says_how_to_go_on(trained_run, tmp_path):
    tmp_path = tmp_path / "my results"
    command = [sys.executable, "-m", "embodied.cli", "evaluate", str(trained_run), f"out={tmp_path}", "episodes=30000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not any(text.count("\n") > 20 for text in tables(tmp_path).values()):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[0]
    assert process.returncode == 130
    assert f"continue with: embodied evaluate {trained_run} episodes=30000 'out={tmp_path}'\n" in told
    assert len(read_episodes(tmp_path / "episodes-seed0.csv")) > 20


def test_other_settings_or_another_checkpoint_are_refused_in_the_same_folder(trained_run, tmp_path):
    evaluated(trained_run, tmp_path, "episodes=4")
    before = tables(tmp_path)
    for word, told in [
        ("seeds=[1]", r"with seeds=\[0\], and this one has seeds=\[1\]; nothing was played"),
        ("actions=sampled", r"actions=\"likeliest\", and this one has actions=\"sampled\""),
        ("simulator.tolerance=0.2", r"simulator.tolerance=0.1, and this one has simulator.tolerance=0.2"),
    ]:
        with pytest.raises(ConfigError, match=told):
            evaluated(trained_run, tmp_path, "episodes=4", word)
    with pytest.raises(ConfigError, match="with another checkpoint; nothing was played"):
        evaluated(trained_run / "checkpoints" / "000000", tmp_path, "episodes=4")
    assert tables(tmp_path) == before


def test_a_difference_in_conditions_is_named_by_their_names(trained_run, tmp_path):
    protocol, out = tmp_path / "mine.yaml", tmp_path / "out"
    protocol.write_text(CONDITIONS)
    words = ["max_steps=40", "episodes=5", "seeds=[0,1]", "actions=sampled"]
    evaluated(trained_run, out, *words)
    with pytest.raises(ConfigError, match=r'conditions=\[\], and this one has conditions=\["easy", "hard"\].* out='):
        evaluated(trained_run, out, f"protocol={protocol}", *words)


def test_an_evaluation_that_was_refused_before_it_began_binds_nobody(trained_run, tmp_path):
    with pytest.raises(ConfigError, match="task 1 was asked for"):
        evaluated(trained_run, tmp_path, "episodes=4", "tasks=[1]")
    assert evaluated(trained_run, tmp_path, "episodes=4")["success_once"]["episodes"] == 4


def test_a_table_of_other_starts_is_refused(trained_run, tmp_path):
    evaluated(trained_run, tmp_path, "episodes=4")
    table = tmp_path / "episodes-seed0.csv"
    table.write_text(table.read_text().replace("0,0,0,-1,", "0,0,0,7,", 1))
    with pytest.raises(ConfigError, match="episode 0 began otherwise than it would now"):
        evaluated(trained_run, tmp_path, "episodes=4")
    table.write_text("index,env\n0,zero\n")
    with pytest.raises(ConfigError, match=r"episodes-seed0.csv line 2 is not an episode"):
        evaluated(trained_run, tmp_path, "episodes=4")


def test_stopping_early_is_said_and_the_table_holds_what_counts(trained_run, tmp_path):
    summary = evaluated(trained_run, tmp_path, "episodes=2000", "width=0.3")
    (why,) = summary["stopped_early"]
    count = summary["success_once"]["episodes"]
    assert why.startswith(f"stopped early: after {count} of 2000 episodes")
    assert summary["planned_episodes"] == 2000
    assert [e.index for e in read_episodes(tmp_path / "episodes-seed0.csv")] == list(range(count))
    assert evaluated(trained_run, tmp_path, "episodes=2000", "width=0.3")["success_once"] == summary["success_once"]


CONDITIONS = """# reach with a generous and with a strict judge
_target_: embodied.evaluation.protocol.Protocol
simulator: simulators.reach.ReachRecipe
settings: [simulator.max_steps=12]
conditions: {easy: [simulator.tolerance=0.5], hard: [simulator.tolerance=0.01]}
tasks: []
episodes: 5
episodes_per_task: null
seeds: [0, 1]
repeats: 1
actions: sampled
max_steps: null
width: null
"""


def test_a_protocol_of_ones_own_has_a_table_and_numbers_for_each_condition(trained_run, tmp_path):
    protocol, out = tmp_path / "mine.yaml", tmp_path / "out"
    protocol.write_text(CONDITIONS)
    summary = evaluated(trained_run, out, f"protocol={protocol}")
    assert sorted(tables(out)) == [f"episodes-{name}-seed{seed}.csv" for name in ("easy", "hard") for seed in (0, 1)]
    easy, hard = (summary["conditions"][name]["success_once"] for name in ("easy", "hard"))
    assert (easy["episodes"], hard["episodes"], summary["success_once"]["episodes"]) == (10, 10, 20)
    assert easy["successes"] > hard["successes"]
    mean = (easy["successes"] + hard["successes"]) / 20
    assert summary["success_once"]["mean_over_conditions"] == pytest.approx(mean)
    assert max(e.steps for e in read_episodes(out / "episodes-hard-seed0.csv")) == 12
    first = summary["evaluation"]["conditions"]["easy"]
    assert (first["tolerance"], first["max_steps"]) == (0.5, 12)


@pytest.mark.parametrize("name", ["a/b", "", "../x", "a b"])
def test_the_name_of_a_condition_must_make_the_name_of_a_file(name, trained_run, tmp_path):
    protocol = tmp_path / "mine.yaml"
    protocol.write_text(CONDITIONS.replace("easy:", f"{json.dumps(name)}:"))
    with pytest.raises(ConfigError, match=f"the condition `{name}` gives its tables their names") as caught:
        evaluated(trained_run, tmp_path / "out", f"protocol={protocol}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", protocols())
def test_every_protocol_fits_the_simulators_it_is_for(name):
    protocol = read_protocol(name)
    options = {"": ["tabletop", "robosuite", "libero"], "simulators.libero.LiberoRecipe": ["libero"]}
    for option in options.get(protocol.simulator, ["maniskill"]):
        config = compose_config("train", [f"simulator={option}"])
        base = {key: config[key] for key in ("simulator", "policy", "max_steps")}
        target = {"_target_": "embodied.evaluation.protocol.EvaluationRecipe", "checkpoint": ""}
        e = from_dict(target | settled(base, [f"protocol={name}"]))
        assert set(e.conditions) == set(protocol.conditions)
        for label, simulator in e.conditions.items():
            assert simulator.randomize.set == label.replace("ind", "train")


def test_libero_protocols_are_the_published_ones():
    config = compose_config("train", ["simulator=libero", "simulator.suite=90", "simulator.tasks=[3]"])
    base = {key: config[key] for key in ("simulator", "policy", "max_steps")}
    found = settled(base, ["protocol=libero_10", "seeds=[0,1,2]", "simulator.num_envs=2"])
    assert (found["simulator"]["suite"], found["simulator"]["tasks"], found["simulator"]["num_envs"]) == (10, [], 2)
    assert (found["episodes"], found["episodes_per_task"], found["seeds"]) == (None, 50, [0, 1, 2])
    assert (found["simulator"]["settle_steps"], found["max_steps"]) == (10, None)
    spec = vectors(num_envs=2)
    ten = type(spec)(spec.obs, 2, 2, 20.0, tuple("abcdefghij"), initial_states=(50,) * 10)
    jobs = jobs_of(ten, episodes_per_task=50).all
    assert len({(job.task, job.initial_state) for job in jobs}) == len(jobs) == 500


def test_a_protocol_reaches_a_simulator_in_an_interpreter_of_its_own():
    config = compose_config("train", ["simulator=robosuite15"])
    found = settled({key: config[key] for key in ("simulator", "policy", "max_steps")}, ["protocol=generalisation"])
    assert found["conditions"]["ood_light"]["simulator"]["randomize"]["set"] == "ood_light"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["protocol=libero_spatal"], "there is no protocol `libero_spatal`.*Did you mean `protocol=libero_spatial`"),
        (
            ["protocol=libero_10"],
            "one of simulators.libero.LiberoRecipe, and this policy was trained in simulators.reach",
        ),
        (["protocol=generalisation"], "sets simulator.randomize.set, and simulators.reach.ReachRecipe has no such"),
        (["simulator.obs=rgb"], r"trained to see state 4 float32, and this simulator shows state 2 float32"),
        (["tasks=[1]"], "task 1 was asked for, and the simulator has 1"),
        (["episodes=5", "episodes_per_task=5"], "set one of episodes and episodes_per_task"),
        (["width=0.1", "repeats=2"], "repeats of one start are not"),
        (["seeds=[1,1]"], "none twice"),
        (["widht=0.1"], "Did you mean `width`"),
    ],
)
def test_a_mistake_is_one_sentence(words, told, trained_run, tmp_path):
    with pytest.raises(ConfigError, match=told):
        main([str(trained_run), f"out={tmp_path / 'out'}", *NO_FILM, *words])


def episode(index, task=0, success=True, steps=10, first=None, lost=False, initial_state=-1):
    return Episode(index, 0, task, initial_state, index, steps, 2.0, success, success, first, success, lost)


def part_of(*episodes):
    jobs = jobs_of(vectors(), episodes=len(episodes)).all
    played = tuple(zip(jobs, episodes, strict=True))
    return Part("", vectors(), played, len(jobs), is_whole=True, stopped_early=False, steps=0, seconds=1.0)


def asked(**named):
    return EvaluationRecipe(simulator=ReachRecipe(), policy=MLPRecipe(), checkpoint="", **named)


def test_times_are_told_in_steps_and_in_simulated_seconds():
    part = part_of(episode(0, first=4), episode(1, first=8, steps=20), episode(2, success=False, steps=40))
    summary = summary_of(asked(), Result((part,), 1.0))
    assert vectors().control_hz == 10.0
    assert summary["first_success"] == {"steps": 6.0, "seconds": 0.6}
    assert summary["cycle"] == {"steps": 15.0, "seconds": 1.5}
    assert (summary["success_once"]["successes"], summary["success_once"]["episodes"]) == (2, 3)


def test_lost_episodes_count_for_nothing_and_are_named():
    summary = summary_of(asked(), Result((part_of(episode(0), episode(1, lost=True)),), 1.0))
    assert summary["lost"] == ["episode 1 of seed 0, task 0"]
    assert (summary["lost_episodes"], summary["success_once"]["episodes"]) == (1, 1)


def test_a_stored_state_that_is_played_several_times_counts_as_one_cluster():
    episodes = [episode(i, initial_state=i % 5, success=i % 5 < 3) for i in range(50)]
    told = summary_of(asked(), Result((part_of(*episodes),), 1.0))["success_once"]
    wide, narrow = told["interval_95_over_starts"], wilson(30, 50)
    assert (told["interval_95"], told["starts"]) == (wide, 5)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert "interval_95_over_starts" not in summary_of(asked(), Result((part_of(*episodes[:5]),), 1.0))["success_once"]


def test_starts_that_are_played_again_are_no_further_evidence(trained_run, tmp_path, capsys):
    words = ["simulator.tolerance=0.5", "episodes=12"]
    once = evaluated(trained_run, tmp_path / "once", *words)["success_once"]
    assert 0 < once["successes"] < 12
    assert "different starts" not in capsys.readouterr().out
    again = evaluated(trained_run, tmp_path / "again", *words, "repeats=20")["success_once"]
    assert (again["successes"], again["episodes"], again["starts"]) == (20 * once["successes"], 240, 12)
    (low, high), (first, last) = again["interval_95"], once["interval_95"]
    assert high - low > 0.8 * (last - first)
    told = capsys.readouterr().out
    shown = f"{100 * once['successes'] / 12:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of 240, 12 starts"
    assert shown in told
    assert "240 episodes began from 12 different starts" in told
    one = evaluated(trained_run, tmp_path / "one", "episodes=1", "repeats=5")["success_once"]
    assert (one["interval_95"], one["starts"]) == (None, 1)
    assert re.search(r"\d % of 5, 1 start ", capsys.readouterr().out)


def test_starts_whose_repeats_all_end_alike_on_the_whole_still_have_an_interval():
    episodes = [episode(i, initial_state=i % 2, success=i < 2) for i in range(4)]  # each start: once of two times
    told = summary_of(asked(), Result((part_of(*episodes),), 1.0))["success_once"]
    assert told["interval_95"] == pytest.approx(wilson(2, 4))


@recipe
class StoredRecipe:
    """Reach from 50 stored states."""

    num_envs: int = 4

    def build(self):
        env = ReachRecipe(num_envs=self.num_envs).build()
        env.spec = replace(env.spec, initial_states=(50,))
        return env


def test_width_is_refused_where_stored_states_come_again():
    for words in ({"seeds": (0, 1), "episodes": 12}, {"episodes": 200}):
        e = asked(**words, width=0.5)
        e = replace(e, simulator=StoredRecipe())
        spec = e.simulator.build().spec
        weights = {name: x.detach() for name, x in e.policy.build(spec).state_dict().items()}
        with pytest.raises(
            ConfigError, match=r"width=0.5 counts every .* nothing was played. Set one seed and at most"
        ):
            evaluate(e, Trained(spec, weights))
    assert evaluate(replace(e, episodes=12, width=0.9), Trained(spec, weights)).parts[0].is_whole


def test_videos_show_known_successes_and_known_failures(trained_run, tmp_path):
    words = ["episodes=12", "simulator.tolerance=0.5", "film=2", "film_outcomes=3", f"out={tmp_path}"]
    assert main([str(trained_run), *words]) == 0
    outcomes = {e.success_once for e in read_episodes(tmp_path / "episodes-seed0.csv")}
    assert outcomes == {True, False}
    for name in ("video", "success", "failure"):
        assert (tmp_path / f"{name}.mp4").stat().st_size > 1000
    e, trained = load_evaluation(trained_run, words)
    part = part_of(*[episode(i) for i in range(12)])  # says that all of them succeeded
    told = film_outcomes(e, trained, part, tmp_path)
    assert any("ended otherwise when played again" in sentence for sentence in told)
    assert not (tmp_path / "failure.mp4").exists()


def test_a_finished_run_that_is_resumed_keeps_its_evaluation_and_one_of_other_weights_is_replaced(
    trained_run, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    final = folder / "evaluation" / "final"
    before = (final / "episodes-seed0.csv").stat().st_ino
    text = tables(final)
    identity = json.loads((final / "evaluation.json").read_text())
    (final / "evaluation.json").write_text(json.dumps(identity | {"weights": "others"}))
    assert run(["train", f"resume={folder}"]) == 0
    assert tables(final) == text
    assert (final / "episodes-seed0.csv").stat().st_ino != before
    assert json.loads((final / "evaluation.json").read_text()) == identity | {
        "settings": identity["settings"]
        | {"checkpoint": str(folder / "checkpoints" / identity["settings"]["checkpoint"][-6:])}
    }


def test_weights_of_a_checkpoint_are_known_by_their_digest(trained_run):
    digests = {load_evaluation(trained_run / "checkpoints" / number, [])[1].digest for number in ("000000", "000008")}
    assert len(digests) == 2
    assert isinstance(load_evaluation(trained_run, [])[1], Trained)
