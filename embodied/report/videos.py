"""Films of successes and failures, inside the page, as long as there is room for them."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from embodied.report.blocks import Block, Clip, Clips, Listing, Section, words
from embodied.report.history import History

Choice = Literal["none", "few", "all"]
CHOICES: tuple[str, ...] = get_args(Choice)
LIMITS = {"few": 4_000_000, "all": 40_000_000}  # bytes of all videos together; a third more as text in the page
FILMS = {  # file below a run -> what it shows
    Path("evaluation") / "final" / "success.mp4": "episodes that succeeded",
    Path("evaluation") / "final" / "failure.mp4": "episodes that failed",
    Path("video.mp4"): "fresh episodes after training; green frame: solved",
}
TITLES = {"success.mp4": "Successes", "failure.mp4": "Failures", "video.mp4": "Episodes"}


def videos(histories: Mapping[str, Sequence[History]], choice: Choice) -> Section:
    title = "Successes and failures"
    if choice == "none":
        return Section("videos", title, (words("No videos: the report was made with videos=none."),))
    clips: list[Clip] = []
    omitted: list[str] = []
    room = LIMITS[choice]
    for name, row, path in _films(histories, choice):
        size = path.stat().st_size
        if size > room:
            omitted.append(f"{path} ({_size(size)}): over the limit of {_size(LIMITS[choice])} for all videos.")
            continue
        clip = _clip(name, row, path)
        if isinstance(clip, str):
            omitted.append(clip)
            continue
        clips.append(clip)
        room -= size
    omitted += [f"{name} has no videos." for name, rows in histories.items() if not any(map(_own, rows))]
    blocks: list[Block] = [words(_said(clips, choice))]
    blocks += [Clips(tuple(clips))] if clips else []
    blocks += [words("Not shown:"), Listing(tuple(omitted))] if omitted else []
    return Section("videos", title, tuple(blocks))


def _said(clips: Sequence[Clip], choice: Choice) -> str:
    if not clips:
        return "There are no videos of these runs."
    which = "of one seed of each group, the first that has them" if choice == "few" else "of every run"
    total = sum(len(clip.mp4) for clip in clips)
    return f"{len(clips)} videos {which}, {_size(total)} together. They show what happens, not how often."


def _films(histories: Mapping[str, Sequence[History]], choice: Choice) -> Iterator[tuple[str, History, Path]]:
    for name, rows in histories.items():
        filmed = [row for row in rows if _own(row)]
        for row in filmed if choice == "all" else filmed[:1]:
            for path in _own(row):
                yield name, row, path


def _own(row: History) -> list[Path]:
    """Of one run. A success and a failure say more than the mosaic, which stands in where they were not filmed."""
    found = [row.folder / film for film in FILMS if (row.folder / film).is_file()]
    return [path for path in found if path.name != "video.mp4"] or found


def _clip(name: str, row: History, path: Path) -> Clip | str:
    """With its last frame as a poster; a sentence where it cannot be decoded."""
    from PIL import Image

    poster = last_frame(path)
    if poster is None:
        return f"{path} is not a video that can be decoded."
    mp4, size = path.read_bytes(), Image.open(io.BytesIO(poster)).size
    what = FILMS[path.relative_to(row.folder)]
    title = f"{TITLES[path.name]}: {name}, seed {row.seed}."
    return Clip(title, f"{what[0].upper()}{what[1:]}, {_size(len(mp4))}.", mp4, poster, size)


def last_frame(path: Path) -> bytes | None:
    """As JPEG; None where nothing can be decoded."""
    from imageio_ffmpeg import get_ffmpeg_exe

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "last.jpg"
        command = [
            get_ffmpeg_exe(),
            "-v",
            "error",
            "-sseof",
            "-2",
            "-i",
            str(path),
            "-update",
            "1",
            "-q:v",
            "5",
            str(out),
        ]
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        return out.read_bytes() if done.returncode == 0 and out.is_file() else None


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
