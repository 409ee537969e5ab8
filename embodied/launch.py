"""`embodied train`: a run with everything around it: folder, logs, progress, checkpoints, Ctrl-C, evaluation, video."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from embodied.compose import compose_recipe
from embodied.errors import ConfigError
from embodied.evaluate import load_evaluation, make_films, run_evaluation
from embodied.evaluation.run import Result
from embodied.evaluation.summary import print_result
from embodied.experiments import experiments
from embodied.imitate import Imitation
from embodied.interfaces import Offline
from embodied.interrupt import catching_ctrl_c
from embodied.learner import checkpoint as checkpoints
from embodied.metrics.axis import ENV_STEPS
from embodied.metrics.curve import draw_curve
from embodied.metrics.display import Display, clock, success_of
from embodied.metrics.logger import Logger, cut_back
from embodied.run_folder import add_session, check_free, create, default_folder, ending, locked, read_run
from embodied.sweeping.command import main as sweep
from embodied.train import Loop, Training

USAGE = """embodied train [experiment=NAME] [key=value ...]      a new run
embodied train resume=RUN_FOLDER                      continue one that was stopped or killed
embodied train -m seed=range(5) key=1,2 [jobs=2]      a sweep: a run for each combination, `jobs` at a time
embodied train -m key=interval(0,1) hydra/sweeper=optuna trials=20    a search, on tuning seeds
embodied train -m resume=SWEEP_FOLDER                 continue either

Settings are those of `embodied configs`, for example seed=1 total_steps=500000 simulator.num_envs=16
algorithm.gamma=0.9 run_dir=runs/mine. Experiments:"""

FINAL = Path("evaluation") / "final"
MULTIRUN = ("-m", "--multirun")
STOPPING = {
    "once": "stopping after this iteration; again to stop at once",
    "twice": "stopped at once; the last checkpoint is kept",
}


def main(argv: list[str]) -> int:
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        print("\n".join(f"  {name:22} {what}" for name, what in experiments().items()))
        return 0
    if set(MULTIRUN) & set(argv):
        return sweep([word for word in argv if word not in MULTIRUN])
    resume = [word for word in argv if word.startswith("resume=")]
    if resume:
        if len(argv) > 1:
            raise ConfigError(
                f"resume continues a run as it was, so {[w for w in argv if w not in resume]} cannot be changed; "
                f"nothing was started. Give resume=RUN_FOLDER alone."
            )
        named = Path(resume[0].removeprefix("resume="))
        folder = checkpoints.run_of(checkpoints.latest(named))
        return run(read_run(folder), folder, named)
    training: Training = compose_recipe("train", argv)
    name = next((word.partition("=")[2] for word in argv if word.startswith("experiment=")), "train")
    folder = Path(training.run_dir) if training.run_dir else default_folder(name, training.seed)
    return run(training, folder, None)


def run(training: Training, folder: Path, resume: Path | None) -> int:
    """Train to the end, from scratch or from what `resume` names; 0 when finished, 130 when stopped by Ctrl-C."""
    print(f"run folder {folder}; starting the simulator", flush=True)
    with ExitStack() as held:
        interrupted = _train(training, folder, resume, held)
        result = None if interrupted else _evaluate(training, folder)
    _summary(folder, interrupted)
    if not interrupted:
        _film(training, folder, result)
    return 130 if interrupted else 0


def _train(training: Training, folder: Path, resume: Path | None, held: ExitStack) -> bool:
    """Until the end or Ctrl-C; whether it was Ctrl-C. The lock and the record of how the run ends go to `held`."""
    began, algorithm = time.monotonic(), training.algorithm
    with ExitStack() as stack:
        loaded = None
        if resume is None:
            check_free(folder)
        else:
            held.enter_context(locked(folder))
            loaded = checkpoints.load(checkpoints.latest(resume))
        loop = Imitation(training, algorithm) if isinstance(algorithm, Offline) else Loop(training)
        stack.callback(loop.close)
        if loaded is None:
            create(folder, training)
            held.enter_context(locked(folder))
        else:
            exact = loop.load(loaded)
            checkpoints.set_aside_newer(loaded.folder)
            cut_back(folder, loaded.facts["logs"])
            print(_continued(loaded.folder, loop, exact, add_session(folder, loop.done)), flush=True)
        end = held.enter_context(ending(folder))
        resumed_at = loop.done if loaded else None
        logger = Logger(folder, axis=loop.axis, wandb=training.wandb, resumed_at=resumed_at)
        stack.callback(logger.close)
        if loaded is None:
            _save(loop, logger, folder)  # from here on the run can be continued, whatever happens
        interrupted = _iterate(loop, logger, folder)
    end.how = "stopped" if interrupted else "finished"
    played = "training episodes" if loop.axis is ENV_STEPS else "episodes"
    print(f"{_state_of(loop, interrupted)} after {clock(time.monotonic() - began)}; success of the last {played}: "
          f"{success_of(loop.recent)}", flush=True)  # fmt: skip
    return interrupted


def _iterate(loop: Loop | Imitation, logger: Logger, folder: Path) -> bool:
    """Until the end or Ctrl-C; whether it was Ctrl-C. The last state is always in a checkpoint."""
    t = loop.training
    total = t.iterations * t.steps_per_iteration
    saved = loop.iteration
    progress = Display(folder.parent.name, total, loop.done, axis=loop.axis)
    with catching_ctrl_c(**STOPPING) as interrupt, progress as display:
        while not loop.finished and not interrupt.asked:
            metrics, episodes = loop.iterate()
            logger.log(loop.done, metrics, episodes)
            display.show(loop.done, metrics, loop.recent)
            if loop.iteration % t.checkpoint_every == 0:
                _save(loop, logger, folder)
                saved = loop.iteration
        if saved != loop.iteration:
            _save(loop, logger, folder)
        return interrupt.asked


def _save(loop: Loop | Imitation, logger: Logger, folder: Path) -> None:
    tensors, facts = loop.state()
    path = folder / "checkpoints" / f"{loop.iteration:06d}"
    checkpoints.save(path, tensors, facts | {"logs": logger.lengths()})
    checkpoints.prune(folder, loop.training.keep_checkpoints)


def _evaluate(t: Training, folder: Path) -> Result | None:
    """Fresh episodes, none of which was trained on; those of an earlier last checkpoint are replaced."""
    if not t.evaluate:
        return None
    e, trained = load_evaluation(folder, _evaluation_of(t))
    print(f"evaluating on {t.evaluate} fresh episodes", flush=True)
    result = run_evaluation(e, trained, folder / FINAL, replace=True)
    print_result(result)
    return result


def _film(t: Training, folder: Path, result: Result | None) -> None:
    if t.film:
        e, trained = load_evaluation(folder, [*_evaluation_of(t), f"film={t.film}", f"film_outcomes={t.film}"])
        make_films(e, trained, result, folder / FINAL, video=folder / "video.mp4")


def _evaluation_of(t: Training) -> list[str]:
    return [f"episodes={t.evaluate or 1}", f"seeds=[{t.evaluation_seed}]", f"device={t.device}"]


def _summary(folder: Path, interrupted: bool) -> None:
    print(f"learning curve: {draw_curve(folder, str(folder))}")
    print(f"checkpoint: {checkpoints.latest(folder)}")
    if interrupted:
        print(f"continue with: embodied train resume={folder}")
    else:
        print(f"evaluate again with: embodied evaluate {folder} episodes=100")


def _continued(checkpoint: Path, loop: Loop | Imitation, exact: bool, changed: list[str]) -> str:
    text = f"continuing from {checkpoint} at {loop.done:,} {loop.axis.name}"
    if changed:
        text += f" with other {' and '.join(changed)} than the run began with (facts.json has both)"
    if exact:
        return text
    return text + "; this simulator did not replay its running episodes exactly, so numbers will differ in detail"


def _state_of(loop: Loop | Imitation, interrupted: bool) -> str:
    reached = f"{loop.done:,} {loop.axis.name}"
    return f"stopped at {reached}" if interrupted else reached
