"""embodied report RUNS... [out=report.html]: everything that is known of some runs, on one page that opens anywhere."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, cast

from embodied.config import recipe
from embodied.errors import ConfigError

USAGE = """embodied report RUNS ... [key=value ...]

RUNS are run folders, folders of them (runs/NAME), or CSV tables of scores; NAME=PATH names a group. Runs that differ in
nothing but their seed are one group. Tuning runs (purpose=tuning) are left out and named. Settings:
  out=report.html     the page: one file, readable offline, on a phone, and in black and white
  pictures=null       folder of its pictures as PNG; null: beside the page, as report-pictures
  videos=few          none, few (one seed of each group), all; up to 4 or 40 MB
  metric=success_once or success_at_end, return: what the final scores are
  evaluation=final    or another folder in RUN/evaluation, such as of a protocol: what the final scores rest on
  curve=mean          or iqm: the middle of a learning curve over seeds
  title=null          null: the names of the groups

embodied report runs/ppo runs/sac out=/tmp/ppo_or_sac.html
embodied report ours=runs/ppo theirs=scores.csv videos=none"""


@recipe
class ReportRecipe:
    out: str = "report.html"  # the page
    pictures: str | None = None  # folder of its pictures; null: beside the page
    videos: Literal["none", "few", "all"] = "few"
    metric: Literal["success_once", "success_at_end", "return"] = "success_once"
    evaluation: str = "final"  # folder in RUN/evaluation that the final scores rest on
    curve: Literal["mean", "iqm"] = "mean"  # middle of a learning curve
    title: str | None = None  # null: the names of the groups

    def __post_init__(self) -> None:
        if Path(self.out).suffix not in (".html", ".htm"):
            raise ConfigError(
                f"out={self.out} should be a page and end in .html; nothing was written. For example "
                f"out={Path(self.out) / 'report.html'}"
            )

        if not self.evaluation or Path(self.evaluation).name != self.evaluation:
            raise ConfigError(
                f"evaluation={self.evaluation} should name a folder in RUN/evaluation, not a path; nothing was "
                f"written. For example evaluation=final."
            )

    @property
    def pictures_folder(self) -> Path:
        out = Path(self.out)
        return Path(self.pictures) if self.pictures else out.with_name(f"{out.stem}-pictures")


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    began = time.monotonic()
    runs, settings = parse(argv)
    from embodied.report.assemble import assemble
    from embodied.report.gather import gather
    from embodied.report.page import write

    material = gather(runs, metric=settings.metric, evaluation=settings.evaluation)
    page = assemble(material, settings)
    out = Path(settings.out)
    write(page, out, settings.pictures_folder)
    print("\n".join(page.verdict))
    for sentence in (*material.left_out, *(f"tuning run, left out: {each}" for each in material.tuning)):
        print(f"note: {sentence}")
    size = out.stat().st_size / 1e6
    print(f"page: {out} ({size:.1f} MB, {time.monotonic() - began:.1f} s); pictures: {settings.pictures_folder}")
    return 0


def parse(argv: Sequence[str]) -> tuple[list[str], ReportRecipe]:
    """Words that name runs, and the settings."""
    from embodied.config import from_dict

    known = {field.name: field.default for field in fields(ReportRecipe)}
    pairs = {word: word.partition("=")[::2] for word in argv}
    settings = {key: None if value == "null" else value for key, value in pairs.values() if key in known}
    runs = [word for word, (key, _) in pairs.items() if "=" not in word or key not in known]
    for word in runs:
        key, value = pairs[word]
        if "=" in word and not Path(word).exists() and not Path(value).exists():
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f" Did you mean `{near[0]}`?" if near else f" Settings are {', '.join(known)}."
            raise ConfigError(f"there is no setting `{key}`, and no runs in {value}; nothing was written.{hint}")
    if not runs:
        raise ConfigError("name the runs first: embodied report RUNS ... out=report.html; nothing was written.")
    return runs, cast(ReportRecipe, from_dict({"_target_": f"{__name__}.ReportRecipe", **settings}))
