import json
import resource
import signal
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import torch

from embodied.errors import CheckpointError
from embodied.learner import checkpoint as checkpoints
from embodied.learner.learner import load_policy
from embodied.metrics.logger import cut_back
from embodied.spec import spec_facts, spec_from
from embodied.train import load_learner
from embodied.types import Array, Spec
from policies.mlp import MLPRecipe

SPEC = Spec(obs={"state": Array((3,))}, action_dim=2, num_envs=4, control_hz=20.0, tasks=("push",), max_steps=50)
TENSORS = {"weights": {"w": torch.arange(4.0)}, "learner": {"version": torch.tensor(7)}}


def write(run, number=1):
    return checkpoints.save(run / "checkpoints" / f"{number:06d}", TENSORS, {"spec": spec_facts(SPEC)})


def test_what_is_saved_is_what_is_loaded(tmp_path):
    loaded = checkpoints.load(write(tmp_path))
    torch.testing.assert_close(loaded.tensors["weights"]["w"], torch.arange(4.0))
    assert int(loaded.tensors["learner"]["version"]) == 7
    assert loaded.spec == SPEC


def test_the_time_limit_of_each_task_is_a_fact_of_the_simulator():
    several = replace(SPEC, tasks=("push", "wait"), max_steps=(50, None))
    facts = json.loads(json.dumps(spec_facts(several)))
    assert spec_from(facts) == several
    assert facts == spec_facts(several) != spec_facts(replace(several, max_steps=50))
    with pytest.raises(ValueError, match="max_steps has 3 entries and there are 2 tasks"):
        spec_from(facts | {"max_steps": [50, 50, 50]})


def test_the_newest_checkpoint_of_a_run_is_found_and_a_half_written_one_is_not(tmp_path):
    write(tmp_path, 9)
    write(tmp_path, 10)
    (tmp_path / "checkpoints" / ".000011.part").mkdir()
    assert checkpoints.latest(tmp_path).name == "000010"


def test_only_the_newest_are_kept(tmp_path):
    for number in range(5):
        write(tmp_path, number)
    checkpoints.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoints.all_in(tmp_path)] == ["000003", "000004"]


def test_a_cut_file_is_refused_and_an_earlier_checkpoint_is_named(tmp_path):
    good, bad = write(tmp_path, 1), write(tmp_path, 2)
    file = bad / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"000002 is incomplete or damaged.*nothing was loaded.*000001"):
        checkpoints.load(bad)
    checkpoints.load(good)


def test_a_missing_file_is_refused(tmp_path):
    folder = write(tmp_path)
    (folder / "learner.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"incomplete or damaged.*learner\.safetensors"):
        checkpoints.load(folder)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run folder"):
        checkpoints.latest(tmp_path)


def test_a_checkpoint_of_another_architecture_names_the_first_tensor_that_differs():
    small, large = MLPRecipe(hidden=(8,)).build(SPEC), MLPRecipe(hidden=(16,)).build(SPEC)
    with pytest.raises(CheckpointError, match=r"another architecture: `actor.0.bias` is \(8,\) there and \(16,\)"):
        load_policy(large, small.state_dict())


def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_half_written(tmp_path):
    write(tmp_path, 1)
    large = {"weights": {"w": torch.zeros(100_000)}}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"000002 could not be written.*earlier checkpoints.*are kept"):
            checkpoints.save(tmp_path / "checkpoints" / "000002", large, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000001"]


def test_the_manifest_lists_every_file(tmp_path):
    folder = write(tmp_path)
    listed = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*listed, "manifest.json"}


def test_newer_checkpoints_step_aside_for_a_run_that_continues_from_an_older_one(tmp_path):
    older, _ = write(tmp_path, 1), write(tmp_path, 2)
    checkpoints.set_aside_newer(older)
    assert checkpoints.latest(tmp_path) == older


def test_logs_shorter_than_a_checkpoint_remembers_are_refused_and_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is shorter than when the checkpoint was written"):
        cut_back(tmp_path, {"metrics.jsonl": 10})
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


class Loading:
    """Stands for a learner, which loads what it is given."""

    def __init__(self) -> None:
        self.loaded: list[Any] = []

    def call(self, _: Any, state: Any) -> Any:
        self.loaded.append(state)
        done: Future[None] = Future()
        done.set_result(None)
        return done


def continued(saved, here):
    learner: Any = Loading()
    facts = json.loads(json.dumps({"spec": spec_facts(saved)}))
    load_learner(learner, here, checkpoints.Checkpoint(folder="c", tensors=TENSORS, facts=facts))  # type: ignore[arg-type]
    return len(learner.loaded)


SEVERAL = replace(SPEC, tasks=("push", "pick", "open"), max_steps=(50, 80, 60))


def test_a_run_from_before_each_task_had_its_limit_is_continued():
    assert continued(replace(SEVERAL, max_steps=80), SEVERAL) == 1
    assert continued(replace(SEVERAL, max_steps=None), replace(SEVERAL, max_steps=(50, None, 60))) == 1
    for other in (50, 90, None):
        with pytest.raises(CheckpointError, match=rf"max_steps is {other or 'nothing'} there and \[50, 80, 60\] here"):
            continued(replace(SEVERAL, max_steps=other), SEVERAL)


def test_another_simulator_is_told_by_what_differs_and_by_nothing_else():
    other = replace(SPEC, control_hz=10.0, obs={"state": Array((5,))})
    with pytest.raises(CheckpointError) as error:
        continued(SPEC, other)
    assert str(error.value) == (
        "the checkpoint c was made with another simulator: obs.state is [[3], 'float32'] there and [[5], 'float32'] "
        "here; control_hz is 20.0 there and 10.0 here; nothing was continued. Install the simulator's version that the "
        "run began with, or begin a new run."
    )
    long = replace(SPEC, tasks=tuple(f"do {n}" for n in range(100)))
    with pytest.raises(CheckpointError) as error:
        continued(long, replace(long, tasks=("push",)))
    assert len(str(error.value)) < 400
