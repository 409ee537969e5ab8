"""`embodied evaluate`: fresh episodes of a trained policy, a table of them, and a success rate with its interval.

embodied evaluate RUN_OR_CHECKPOINT episodes=100 seeds=[0,1] simulator.num_envs=4
embodied evaluate RUN_OR_CHECKPOINT protocol=libero_spatial width=0.05
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embodied.config import from_dict, to_dict
from embodied.errors import ConfigError, EmbodiedError
from embodied.evaluation.films import film_first, film_outcomes
from embodied.evaluation.folder import Folder
from embodied.evaluation.protocol import EvaluationRecipe, protocols, settled
from embodied.evaluation.run import Progress, Result, Trained, evaluate
from embodied.evaluation.summary import print_result, rate_of, summary_of
from embodied.interrupt import Interrupt, catching_ctrl_c
from embodied.learner import checkpoint as checkpoints
from embodied.metrics.intervals import percent
from embodied.run_folder import locked, read_config

STOPPING = {
    "once": "stopping; whole episodes are kept, again to stop at once",
    "twice": "stopped at once; whole episodes are kept",
}


def load_evaluation(path: Path, words: list[str]) -> tuple[EvaluationRecipe, Trained]:
    """The evaluation of the checkpoint at `path`, with `key=value` words applied, and what is evaluated."""
    folder = checkpoints.latest(path)
    saved = read_config(folder)
    config = settled({name: saved[name] for name in ("simulator", "policy", "max_steps")}, words)
    e: EvaluationRecipe = from_dict(
        {"_target_": f"{EvaluationRecipe.__module__}.EvaluationRecipe", "checkpoint": str(folder)} | config
    )
    loaded = checkpoints.load(folder)
    manifest = json.loads((folder / checkpoints.MANIFEST).read_text())
    return e, Trained(loaded.spec, loaded.tensors["weights"], manifest["weights.safetensors"])


def run_evaluation(
    e: EvaluationRecipe, trained: Trained, out: Path, *, interrupt: Interrupt | None = None, replace: bool = False
) -> Result:
    """Play what `out` does not hold yet, and write the tables and, once everything is there, the summary.

    Another evaluation in `out` is refused, or with `replace` deleted.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), _bar() as progress:
        folder = Folder(out, to_dict(e), trained.digest, replace=replace)
        result = evaluate(e, trained, folder, progress=progress, stop=lambda: interrupt is not None and interrupt.asked)
        if not result.interrupted:
            folder.summarize(summary_of(e, result))
    return result


def make_films(e: EvaluationRecipe, trained: Trained, result: Result | None, out: Path, *, video: Path) -> None:
    """Last of all: a renderer that fails must not take the results along."""
    try:
        if e.film:
            print(f"video: {film_first(e, trained, video)}", flush=True)
        if e.film_outcomes and result is not None:
            for sentence in film_outcomes(e, trained, result.parts[0], out):
                print(sentence, flush=True)
    except EmbodiedError as error:
        print(f"no video: {error}", flush=True)


@contextmanager
def _bar() -> Generator[Callable[[Progress], None]]:
    """A line for each condition: how far, how fast, and how it looks so far."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
    with Bars(*columns, TimeRemainingColumn()) as bars:
        lines: dict[str, Any] = {}

        def show(p: Progress) -> None:
            if p.condition not in lines:
                lines[p.condition] = bars.add_task(
                    p.condition or "episodes", total=p.planned, completed=p.done, told=""
                )
            rate = percent(p.successes, p.done).rpartition(" [" if p.repeats else " of ")[0]
            told = f"{p.steps / max(p.seconds, 1e-9):,.0f} steps/s  {rate}"
            bars.update(lines[p.condition], completed=p.done, told=told if p.done else "")

        yield show


USAGE = """embodied evaluate RUN_OR_CHECKPOINT [key=value ...]

RUN_OR_CHECKPOINT is a folder that `embodied train` made, or one of its checkpoints. Settings:
  protocol=custom     where the defaults of the settings below come from, and what is set in the simulator
  episodes=100        for each seed; or episodes_per_task=N
  seeds=[0]           of the initial states; never those of training
  repeats=1           of every start
  tasks=[]            by index, instruction or short name; empty: all
  actions=likeliest   or sampled
  width=null          stop when the 95 % interval of success is as narrow as this, such as 0.1
  device=auto         of the policy; or cpu, cuda
  film=9              episodes in the video; 0 leaves it out
  film_outcomes=4     successes, and failures, in a video of their own; 0 leaves them out
  out=null            folder of the results; null: RUN/evaluation/TIME. One that was stopped or killed continues there
  max_steps, simulator.*, policy.*   as in the run, unless given: simulator.terminate_on_success=false shows who stays
Writes episodes-seedS.csv, summary.json, video.mp4, success.mp4 and failure.mp4. Protocols:"""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        print("\n".join(f"  {name:18} {what}" for name, what in protocols().items()))
        return 0
    if "=" in argv[0]:
        raise ConfigError("name the run folder or checkpoint first: embodied evaluate RUN episodes=100.")
    path = Path(argv[0])
    if not path.is_dir():
        raise ConfigError(f"there is no folder {path}; nothing was evaluated.")
    e, trained = load_evaluation(path, argv[1:])
    out = Path(e.out) if e.out else default_folder(path)
    print(f"results in {out}", flush=True)
    with catching_ctrl_c(**STOPPING) as interrupt:
        result = run_evaluation(e, trained, out, interrupt=interrupt)
    if result.interrupted:
        words = [word for word in argv if not word.startswith("out=")]
        print(f"continue with: embodied evaluate {shlex.join([*words, f'out={out}'])}")
        return 130
    print_result(result, e.width)
    print(f"written to {out}; {rate_of(result)}".removesuffix("; "))
    make_films(e, trained, result, out, video=out / "video.mp4")
    return 0


def default_folder(path: Path) -> Path:
    """RUN/evaluation/TIME."""
    return checkpoints.run_of(checkpoints.latest(path)) / "evaluation" / time.strftime("%Y%m%d-%H%M%S")
