"""What a report says: verdicts, intervals, what it refuses, and what it leaves out of the page."""

import re
from typing import Any

import pytest

from embodied.cli import run
from embodied.comparing.compare import compare
from embodied.comparing.scores import read_groups
from embodied.comparing.words import verdicts
from embodied.errors import ConfigError
from embodied.report import videos
from embodied.report.assemble import assemble
from embodied.report.command import ReportRecipe, parse
from embodied.report.comparisons import compared
from embodied.report.costs import costs
from embodied.report.estimates import ALIKE, EPISODES, SEEDS, SEEDS_AND_STARTS, estimate
from embodied.report.gather import gather
from embodied.report.results import results
from embodied.report.style import looks
from tests.made_runs import write_run, write_video


def write_groups(folder, rates=(0.9, 0.4), seeds=5, **settings):
    for group, rate in enumerate(rates):
        for seed in range(seeds):
            write_run(folder / "runs" / f"{group}-{seed}", seed=seed, rate=rate, learning_rate=group + 1.0, **settings)
    return str(folder / "runs")


def page_of(*words, **settings):
    return assemble(gather(words), ReportRecipe(**settings))


def blocks_of(section, kind) -> list[Any]:
    return [block for block in section.blocks if block.kind == kind]


def section(page, key):
    return next(str(section.blocks) for section in page.sections if section.key == key)


def test_the_verdict_is_that_of_compare(tmp_path):
    runs = write_groups(tmp_path)
    found = compare([*gather([runs]).groups])
    page = page_of(runs)
    assert list(page.verdict) == verdicts(found)
    assert "learning_rate=1.0 is better than learning_rate=2.0" in page.verdict[0]
    assert page.title == "runs: learning_rate=1.0 against learning_rate=2.0"


def compared_of(runs):
    groups = gather([runs]).groups
    return compared(groups, dict(zip((group.name for group in groups), looks(len(groups)), strict=True)))


def test_many_pairs_are_one_sentence_if_all_are_told_apart(tmp_path):
    runs = write_groups(tmp_path, rates=(0.95, 0.05, 0.35, 0.65), tasks=("push", "pick", "place"))
    best_first = [f"learning_rate={group}.0" for group in (1, 4, 3, 2)]
    assert compared_of(runs).verdict[1] == f"All 6 pairs are told apart, from best to worst: {', '.join(best_first)}."


def test_only_few_pairs_stand_in_the_verdict(tmp_path):
    told = compared_of(write_groups(tmp_path, rates=(0.9, 0.5, 0.5, 0.1), seeds=4)).verdict
    assert 2 <= len(told) <= 3
    assert "of 6 pairs" in told[-1]


def test_one_group_is_not_compared_and_still_reported(tmp_path):
    page = page_of(write_groups(tmp_path, rates=(0.9,)))
    assert page.verdict == ("One group, runs: nothing to compare it with.",)
    assert "profiles" in {picture.name for picture in page.pictures}


def test_groups_on_different_tasks_are_reported_and_not_compared(tmp_path):
    for name, task in (("a", "push"), ("b", "pick")):
        for seed in range(3):
            write_run(tmp_path / name / str(seed), seed=seed, tasks=(task,))
    page = page_of(str(tmp_path / "a"), str(tmp_path / "b"))
    assert page.verdict[0].startswith("Not compared: the runs share no task")
    assert {"push", "pick"} <= set(re.findall("push|pick", section(page, "scores")))


def test_tuning_runs_alone_are_shown_and_claim_nothing(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=1_000_000, purpose="tuning")
    page = page_of(str(tmp_path / "runs"))
    assert "nothing is claimed from them" in page.verdict[-1]
    assert "No run has a score that counts" in section(page, "scores")
    assert "curves-env-steps" in {picture.name for picture in page.pictures}


def interval_of(*words, task="push"):
    """Meaning, and the mean with its ends."""
    found = estimate(gather(words).groups[0], (task,))
    assert found.interval is not None
    return found.meaning, found.value, found.interval.low, found.interval.high


def test_one_seed_has_an_interval_of_its_episodes_and_says_so(tmp_path):
    write_run(tmp_path / "a", rate=1.0, episodes=20)
    meaning, *numbers = interval_of(str(tmp_path / "a"))
    assert meaning == EPISODES
    assert numbers == pytest.approx([1.0, 0.8389, 1.0], abs=1e-4)  # Wilson, 20 of 20


def test_seeds_on_the_same_starts_carry_both(tmp_path):
    meaning, value, low, high = interval_of(write_groups(tmp_path, rates=(0.6,)))
    assert meaning == SEEDS_AND_STARTS
    assert low < value < high


def test_a_table_of_scores_carries_its_seeds_alone(tmp_path):
    (tmp_path / "a.csv").write_text("group,seed,score\nx,0,0.5\nx,1,0.7\nx,2,0.6\n")
    meaning, *numbers = interval_of(str(tmp_path / "a.csv"), task="task")
    assert meaning == SEEDS
    assert numbers == pytest.approx([0.6, 0.5, 0.7])


def test_success_everywhere_is_not_certainty(tmp_path):
    (tmp_path / "a.csv").write_text("group,seed,score\nx,0,1\nx,1,1\nx,2,1\n")
    assert interval_of(str(tmp_path / "a.csv"), task="task")[2] < 0.5
    assert interval_of(write_groups(tmp_path, rates=(1.0,)))[2] < 0.6


def test_seeds_that_are_all_alike_have_no_interval(tmp_path):
    (tmp_path / "a.csv").write_text("group,seed,score\nx,0,0.7\nx,1,0.7\nx,2,0.7\n")
    found = estimate(gather([str(tmp_path / "a.csv")]).groups[0], ("task",))
    assert (found.interval, found.meaning) == (None, ALIKE)
    assert "70.0 % [" not in section(page_of(str(tmp_path / "a.csv")), "scores")


def test_means_over_different_tasks_are_not_set_side_by_side_in_silence(tmp_path):
    write_run(tmp_path / "a", tasks=("push", "pick"))
    write_run(tmp_path / "b", tasks=("push",))
    found = gather([f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"])
    text = str(results(found.groups, dict(zip("ab", looks(2), strict=True)), found.histories).blocks[0])
    assert "not comparable" in text


def test_runs_that_count_gradient_steps_have_a_curve_of_their_own(tmp_path):
    write_run(tmp_path / "ppo")
    folder = write_run(tmp_path / "bc")
    text = (folder / "metrics.jsonl").read_text().replace("env_steps", "gradient_steps")
    (folder / "metrics.jsonl").write_text(text.replace("seconds/collect", "seconds/evaluate"))
    page = page_of(f"ppo={tmp_path / 'ppo'}", f"bc={folder}", videos="none")
    names = [picture.name for picture in page.pictures]
    assert names[:3] == ["curves-env-steps", "curves-gradient-steps", "curves-wall-time"]
    assert "evaluations on the way" in section(page, "time")


def test_what_was_not_recorded_is_not_zero(tmp_path):
    folder = write_run(tmp_path / "a", points=3)
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(re.sub(r'"(optimizer_steps|device_s)": [0-9.]+, ', "", text))
    known = gather([str(folder)]).histories
    used = blocks_of(costs(known, dict(zip(known, looks(1), strict=True))), "table")[1]
    row = used.rows[0]
    assert row[2:] == ("finished", "3,000", "not recorded", "3 s", "6 s", "not recorded")


def test_lost_episodes_and_early_stops_of_the_evaluation_are_told(tmp_path):
    folder = write_run(tmp_path / "a")
    summary = folder / "evaluation" / "final" / "summary.json"
    told = '{"lost_episodes": 3, "stopped_early": ["stopped early: after 40 of 100 episodes"], '
    summary.write_text(told + summary.read_text()[1:])
    found = gather([f"a={folder}"])
    text = str(results(found.groups, {"a": looks(1)[0]}, found.histories).blocks[0])
    assert "seed 0: 3 episodes were lost" in text
    assert "after 40 of 100 episodes." in text


def test_videos_that_do_not_fit_are_named(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "a")
    first = write_video(folder / "evaluation" / "final" / "success.mp4")
    write_video(folder / "evaluation" / "final" / "failure.mp4")
    monkeypatch.setitem(videos.LIMITS, "few", first.stat().st_size)
    found = videos.videos(gather([f"a={folder}"]).histories, "few")
    assert [clip.title for clip in blocks_of(found, "clips")[0].clips] == ["Successes: a, seed 0."]
    assert "failure.mp4" in blocks_of(found, "listing")[0].items[0]
    assert "over the limit" in blocks_of(found, "listing")[0].items[0]


def test_few_videos_are_of_one_seed_and_all_of_every(tmp_path):
    for seed in range(2):
        write_video(write_run(tmp_path / "runs" / str(seed), seed=seed) / "video.mp4")
    histories = gather([str(tmp_path / "runs")]).histories
    assert len(blocks_of(videos.videos(histories, "few"), "clips")[0].clips) == 1
    assert len(blocks_of(videos.videos(histories, "all"), "clips")[0].clips) == 2
    assert blocks_of(videos.videos(histories, "none"), "clips") == []


def test_the_command_writes_a_page_and_its_pictures(tmp_path, capsys):
    out = tmp_path / "here" / "page.html"
    assert run(["report", write_groups(tmp_path, seeds=2), f"out={out}", "videos=none", "title=<mine>"]) == 0
    text = out.read_text()
    assert "<title>&lt;mine&gt;</title>" in text
    assert not re.search(r"https?://", text)
    assert {path.name for path in (tmp_path / "here" / "page-pictures").iterdir()} >= {"scores.png", "time.png"}
    assert str(out) in capsys.readouterr().out


def test_the_same_runs_make_the_same_page(tmp_path):
    runs = write_groups(tmp_path, rates=(0.7, 0.5), seeds=3)
    assert page_of(runs).sections == page_of(runs).sections


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{runs}", "vidoes=all"], r"no setting `vidoes`.*Did you mean `videos`\?"),
        (["{runs}", "videos=some"], "videos: Input should be"),
        (["{runs}", "out=report.pdf"], r"should be a page and end in \.html"),
        (["out=report.html"], "name the runs first"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        parse([word.format(runs=tmp_path) for word in words])


def test_one_seed_twice_is_refused(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, seed=0)
    with pytest.raises(ConfigError, match="seed 0 of runs was run 2 times"):
        gather([str(tmp_path / "runs")])


def test_groups_are_those_of_compare(tmp_path):
    runs = write_groups(tmp_path, seeds=2)
    ours, theirs = gather([runs]).groups, read_groups([runs])
    assert [group.runs for group in ours] == [group.runs for group in theirs]
