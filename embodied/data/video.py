"""Pictures of several episodes in one mp4, and back: what LeRobot datasets keep of cameras.

H.264 with a keyframe at every second picture, as LeRobot writes them, so that any picture is at most one step from
where decoding can begin. Lossy: 36 dB were measured, most of it lost by halving the resolution of color.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data.decoding import decoding
from embodied.errors import DatasetError
from embodied.packaging import need

GROUP = 2  # pictures from one keyframe to the next
QUALITY = 20  # crf: 0 is lossless, 51 the worst
FAITHFUL = 0x2 | 0x2000 | 0x40000  # of swscale: bilinear, chroma at full width, rounded; else it darkens by 1 of 255


class VideoWriter:
    """Owns a file; close it."""

    def __init__(self, path: Path, height: int, width: int, fps: float) -> None:
        self.av = need("av", extra="data")
        self.path, self.count, self.size = path, 0, 0  # pictures, bytes that the encoder has handed out
        self.rate = Fraction(fps).limit_denominator(1000)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.container: Any = self.av.open(str(path), "w", options={"movflags": "faststart"})
        options = {"crf": str(QUALITY), "g": str(GROUP), "bf": "0", "preset": "veryfast", "threads": "1"}
        self.stream: Any = self.container.add_stream("libx264", rate=self.rate, options=options)
        self.stream.width, self.stream.height = width, height
        self.stream.pix_fmt = "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"

    @property
    def seconds(self) -> float:
        return float(self.count / self.rate)

    def write(self, pictures: NDArray[np.uint8]) -> None:
        """Append (L, H, W, 3); the first one is a keyframe."""
        for index, picture in enumerate(pictures):
            frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=self.stream.pix_fmt, interpolation=FAITHFUL)
            frame.pts, frame.time_base = self.count, 1 / self.rate
            if index == 0:
                frame.pict_type = self.av.video.frame.PictureType.I
            self._mux(self.stream.encode(frame))
            self.count += 1

    def close(self) -> None:
        self._mux(self.stream.encode())
        self.container.close()

    def _mux(self, packets: Any) -> None:
        self.size += sum(packet.size for packet in packets)
        self.container.mux(packets)


def read_pictures(path: Path, start: float, count: int, fps: float) -> NDArray[np.uint8]:
    """(L, H, W, 3): the `count` pictures that begin at `start` seconds."""
    av = need("av", extra="data")
    pictures: NDArray[np.uint8] | None = None
    found = np.zeros(count, dtype=bool)
    with decoding(path, av.FFmpegError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        container.seek(max(0, int((start - 0.5 / fps) / stream.time_base)), stream=stream, backward=True)
        for frame in container.decode(stream):
            row = round((frame.time - start) * fps)
            if row >= count:
                break
            if row >= 0:
                picture = frame.to_ndarray(format="rgb24", interpolation=FAITHFUL)
                pictures = np.empty((count, *picture.shape), dtype=np.uint8) if pictures is None else pictures
                pictures[row], found[row] = picture, True
            if found.all():
                break
    if pictures is None or not found.all():
        raise DatasetError(f"{path} has no picture at {start + int(np.argmin(found)) / fps:.3f} s.")
    return pictures


def video_facts(path: Path) -> dict[str, Any]:
    """What info.json says of a video."""
    av = need("av", extra="data")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(stream.base_rate) if stream.base_rate.denominator == 1 else float(stream.base_rate),
            "video.channels": 3,
            "has_audio": False,
        }
