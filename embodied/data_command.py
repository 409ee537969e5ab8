"""embodied data show|check|stats|convert|merge: looks into datasets, checks them, and writes them in another format."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from embodied.data.convert import Format, convert
from embodied.data.dataset import examined, open_dataset
from embodied.data.overview import Overview, as_lists, draw_histograms, draw_sheet, histogram_lines, overview
from embodied.data.recording import Damage, Dataset, Facts, Recording
from embodied.data.statistics import Statistics, Summary
from embodied.errors import ConfigError
from embodied.metrics.display import clock
from embodied.metrics.intervals import percent

USAGE = """embodied data COMMAND PATH ... [key=value ...]

PATH is a dataset of any kind, told apart by its content: a folder that `embodied collect` made (dataset.json), a
LeRobot dataset v3 (meta/info.json), or demonstrations of LIBERO or robomimic (an HDF5 file, or a folder of them).
Datasets are only read. An episode that is damaged or contradicts itself is left out, and named.

  show PATH ...       what is in it: counts, lengths, success, tasks, histograms of the actions
      out=FOLDER      also write frames.png (a sheet of frames) and actions.png there
  check PATH ...      read everything; name each corrupt or inconsistent episode; exit status 1 if there is one
  stats PATH ...      min, max, mean, std, 1 % and 99 % quantile of each number
      out=FILE.json   also write all of them there
  convert PATH        write it anew in another format
      to=lerobot      LeRobot v3: parquet and mp4 (H.264, lossy); numbers stay exact. to=log: ours, lossless
      out=FOLDER      left out: beside PATH, with the format's name at the end
  merge PATH PATH ... one dataset of several, of the same robot, actions and cameras; task lists are united,
                      and an episode that is there twice is left out, by name
      out=FOLDER      needed
      to=log          or lerobot

embodied data show demos/push out=/tmp/push
embodied data convert demos/push to=lerobot out=push_lerobot
embodied data merge demos/monday demos/tuesday out=demos/all"""

OPTIONS = {"show": ("out",), "check": (), "stats": ("out",), "convert": ("to", "out"), "merge": ("to", "out")}

PIPE_CLOSED = 128 + 13  # the exit status of a program that SIGPIPE ends


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    name, *words = argv
    if name not in OPTIONS:
        raise ConfigError(f"`embodied data {name}`: there is {', '.join(OPTIONS)}; nothing was done.")
    paths, settings = _parse(name, words)
    if not paths:
        raise ConfigError(f"name a dataset: embodied data {name} PATH; nothing was done.")
    commands: dict[str, Callable[[list[Path], dict[str, str]], int]] = {
        "show": show, "check": check, "stats": stats, "convert": convert_command, "merge": merge,
    }  # fmt: skip
    try:
        status = commands[name](paths, settings)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status


def show(paths: list[Path], settings: dict[str, str]) -> int:
    for path, own in zip(paths, _own_names(paths), strict=True):
        dataset = open_dataset(path)
        with _progress(f"reading {path.name}", _total(dataset)) as step:
            found = overview(_counted(dataset, step, pictures=False))
        _print_overview(dataset, found)
        if "out" in settings:
            _draw(dataset, found, Path(settings["out"]) / (own if len(paths) > 1 else ""))
    return 0


def _own_names(paths: Sequence[Path]) -> list[str]:
    """The name of each path, with as many of the folders that it is in as tell all of them apart: a-demo, b-demo."""
    parts = [path.resolve().parts for path in dict.fromkeys(paths)]
    depth = 1
    while len({part[-depth:] for part in parts}) < len({*parts}):
        depth += 1
    return ["-".join(path.resolve().parts[-depth:]) for path in paths]


def check(paths: list[Path], _: dict[str, str]) -> int:
    bad = 0
    for path in paths:
        dataset = open_dataset(path)
        with _progress(f"checking {path.name}", _total(dataset)) as step:
            found = overview(_counted(dataset, step))
        _print_damages(found.damaged)
        outside = _outside(found)
        counts = f"{len(found.lengths)} episodes are whole, {len(found.damaged)} are not"
        print(f"{path}: {counts}" + (f"; {outside}" if outside else ""))
        bad += len(found.damaged)
    return 1 if bad else 0


def stats(paths: list[Path], settings: dict[str, str]) -> int:
    collected: dict[str, dict[str, Summary]] = {}
    for path in paths:
        dataset, damages = open_dataset(path), list[Damage]()
        statistics = Statistics(intended=dataset.facts.intended)
        with _progress(f"measuring {path.name}", _total(dataset)) as step:
            for _, item in _counted(dataset, step):
                if isinstance(item, Damage):
                    damages.append(item)
                else:
                    statistics.add(item)
        collected[str(path)] = statistics.summaries()
        _print_damages(damages)
        _print_statistics(path, collected[str(path)])
    if "out" in settings:
        plain = {path: as_lists(summaries) for path, summaries in collected.items()}
        Path(settings["out"]).parent.mkdir(parents=True, exist_ok=True)
        Path(settings["out"]).write_text(json.dumps(plain if len(paths) > 1 else plain[str(paths[0])], indent=1))
        print(f"written to {settings['out']}")
    return 0


def convert_command(paths: list[Path], settings: dict[str, str]) -> int:
    if len(paths) > 1:
        raise ConfigError("convert takes one dataset; nothing was written. For several: embodied data merge.")
    if "to" not in settings:
        raise ConfigError("say which format is wanted: to=lerobot or to=log; nothing was written.")
    to = _format(settings)
    source = paths[0].resolve()
    out = Path(settings["out"]) if "out" in settings else source.with_name(f"{source.stem}-{to}")
    return _write([open_dataset(paths[0])], to, out)


def merge(paths: list[Path], settings: dict[str, str]) -> int:
    if len(paths) < 2:
        raise ConfigError("merge takes two datasets or more; nothing was written.")
    if "out" not in settings:
        raise ConfigError("say where the merged dataset goes: out=FOLDER; nothing was written.")
    return _write([open_dataset(path) for path in paths], _format(settings), Path(settings["out"]))


def _write(datasets: Sequence[Dataset], to: Format, out: Path) -> int:
    with _progress(f"writing {out.name}", sum(map(_total, datasets))) as step:
        written, left_out = convert(datasets, to, out, step)
    _print_damages(left_out)
    print(f"{out}: {written} episodes" + (f", {len(left_out)} left out" if left_out else ""))
    return 0


def _counted(
    dataset: Dataset, step: Callable[[], None], *, pictures: bool = True
) -> Iterator[tuple[int, Recording | Damage]]:
    for index, found in examined(dataset, pictures=pictures):
        yield index, found
        step()


def _total(dataset: Dataset) -> int:
    return len(dataset) + len(dataset.damaged)


def _parse(name: str, words: list[str]) -> tuple[list[Path], dict[str, str]]:
    """Paths, and the settings that the command knows."""
    settings: dict[str, str] = {}
    paths: list[Path] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            paths.append(Path(word))
        elif key in OPTIONS[name]:
            settings[key] = value
        else:
            known = OPTIONS[name]
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)
            there = f"nearest: {near[0]}; all: {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"`embodied data {name}` has no setting {key} ({there}); nothing was done.")
    return paths, settings


def _format(settings: dict[str, str]) -> Format:
    asked = settings.get("to", "log")
    for known in get_args(Format):
        if asked == known:
            return known
    raise ConfigError(f"to={asked} is no format that can be written; there are: {', '.join(get_args(Format))}.")


@contextmanager
def _progress(what: str, total: int) -> Generator[Callable[[], None]]:
    """A bar in a terminal, nothing elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


class _Piped(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `main` says what follows


def _console() -> Console:
    return _Piped(width=None if sys.stdout.isatty() else 120)


def _print_overview(dataset: Dataset, found: Overview) -> None:
    facts = dataset.facts
    table = Table(show_header=False, box=None, pad_edge=False, title=str(dataset.path), title_justify="left")
    for name, value in {**_about(facts), **_counts(facts, found)}.items():
        table.add_row(f"[dim]{name}[/dim]", escape(value))
    console = _console()
    console.print(table)
    if len(facts.spec.tasks) > 1 and len(found.lengths):
        console.print(_by_task(facts, found))
    if found.action.size:
        outside = _outside(found)
        print("  actions, darker where more are" + (f" ({outside})" if outside else ""))
        print("\n".join(histogram_lines(found.action)))
    _print_damages(found.damaged)


def _about(facts: Facts) -> dict[str, str]:
    spec = facts.spec
    obs = (
        f"{name} {str(a.dtype).removeprefix('torch.')} {'x'.join(map(str, a.shape))}" for name, a in spec.obs.items()
    )
    simulator = str(facts.simulator.get("_target_", "yes")) if facts.simulator else ""
    about = {
        "origin": facts.origin,
        "simulator": simulator,
        "robot": spec.robot,
        "actions": f"{spec.action_dim} entries at {spec.control_hz:g}/s",
        "observations": ", ".join(obs),
        "not recorded": ", ".join(facts.lacks),
    }
    return {name: value for name, value in about.items() if value}


def _counts(facts: Facts, found: Overview) -> dict[str, str]:
    episodes, steps = len(found.lengths), int(found.lengths.sum())
    counts = {"episodes": f"{episodes:,}, {steps:,} steps, {clock(steps / facts.spec.control_hz)}"}
    if not episodes:
        return counts
    low, median, high = found.lengths.min(), float(np.median(found.lengths)), found.lengths.max()
    counts["lengths"] = f"{low} to {high} steps, median {median:g}"
    if "success" not in facts.lacks:
        counts["success"] = percent(int(found.solved.sum()), episodes)
    counts["by whom"] = ", ".join(f"{name} {count}" for name, count in sorted(found.sources.items()))
    if facts.intended:
        away = np.sqrt(np.square(found.action - found.lesson).mean())
        counts["intended"] = f"recorded; executed actions are {away:.2g} away from it (root mean square of all entries)"
    if found.human:
        counts["by whom"] += f" ({100 * found.human:.0f} % of the actions by a person)"
    if len(facts.spec.tasks) == 1 and facts.spec.tasks[0]:
        counts["task"] = facts.spec.tasks[0]
    return counts


def _by_task(facts: Facts, found: Overview) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "task", "episodes", "success", "median steps"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for index, text in enumerate(facts.spec.tasks):
        mine = found.task == index
        if mine.any():
            solved = "-" if "success" in facts.lacks else percent(int(found.solved[mine].sum()), int(mine.sum()))
            steps = f"{float(np.median(found.lengths[mine])):g}"
            table.add_row(str(index), escape(text), str(int(mine.sum())), solved, steps)
    return table


def _outside(found: Overview) -> str:
    """Said of actions that are not in [-1, 1]: they are in the units of the robot that they were recorded on."""
    count = int((np.abs(found.action) > 1 + 1e-6).any(axis=1).sum()) if found.action.size else 0
    return f"{count:,} of {len(found.action):,} actions reach beyond [-1, 1]" if count else ""


def _print_damages(damages: Sequence[Damage]) -> None:
    for damage in damages:
        print(f"  episode {damage.episode} is left out: {damage.reason}")


def _print_statistics(path: Path, summaries: dict[str, Summary]) -> None:
    columns = ("min", "max", "mean", "std", "q01", "q99")
    table = Table(title=f"{path}: cameras by channel, brightness from 0 to 1", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for name, summary in sorted(summaries.items()):
        flat = {key: np.atleast_1d(summary[key]).ravel() for key in columns}
        for index in range(len(flat["min"])):
            label = f"{name} {index}" if len(flat["min"]) > 1 else name
            table.add_row(label, *(f"{flat[key][index]:.4g}" for key in columns))
    _console().print(table)


def _draw(dataset: Dataset, found: Overview, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if found.action.size:
        draw_histograms(found.action, folder / "actions.png")
        print(f"  written: {folder / 'actions.png'}")
    if draw_sheet(dataset, folder / "frames.png"):
        print(f"  written: {folder / 'frames.png'}")
    else:
        print("  there is no camera to draw frames of")
