"""Framed records of an append-only file: each is checked by itself and found again after a damaged one.

A record is a header (magic, kind, episode, step, length of the payload, CRC-32 of the payload, CRC-32 of the header
before it) and its payload. Reading headers alone is enough to know what a file holds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"\xabEMB"
HEADER = struct.Struct("<4sIIIIII")
CHECKED = HEADER.size - 4  # bytes of the header that its own CRC covers
WINDOW = 1 << 20  # bytes searched at once for the next record

BEGIN, STEP, END, DISCARD = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Record:
    kind: int
    episode: int  # counted within its file
    step: int
    start: int  # where its header is
    length: int  # bytes of its payload
    crc: int

    @property
    def payload(self) -> int:
        return self.start + HEADER.size

    @property
    def end(self) -> int:
        return self.payload + self.length


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that are no record. `torn`: one that was being written when its process died, at the end of the file."""

    start: int
    end: int
    torn: bool


def frame(kind: int, episode: int, step: int, payload: bytes) -> bytes:
    head = HEADER.pack(MAGIC, kind, episode, step, len(payload), zlib.crc32(payload), 0)[:CHECKED]
    return head + zlib.crc32(head).to_bytes(4, "little") + payload


def scan(file: BinaryIO) -> Iterator[Record | Gap]:
    """Every record and every gap of `file`, in order; payloads are not read."""
    size = file.seek(0, 2)
    at = 0
    while at < size:
        record = header_at(file, at)
        if record is None or record.end > size:
            found = _next_header(file, at + 1)
            after = size if found is None else found
            torn = found is None and (record is not None or size - at < HEADER.size)
            yield Gap(at, after, torn)
            at = after
        else:
            yield record
            at = record.end


def header_at(file: BinaryIO, at: int) -> Record | None:
    file.seek(at)
    return parse(file.read(HEADER.size), 0, at)


def parse(data: bytes, at: int, start: int) -> Record | None:
    """The record whose header is at `at` of `data`, which begins at `start - at` of its file; None if it is none."""
    if len(data) < at + HEADER.size:
        return None
    magic, kind, episode, step, length, crc, own = HEADER.unpack_from(data, at)
    if magic != MAGIC or own != zlib.crc32(data[at : at + CHECKED]):
        return None
    return Record(kind, episode, step, start, length, crc)


def _next_header(file: BinaryIO, at: int) -> int | None:
    """Where the first whole header at or after `at` is."""
    while True:
        file.seek(at)
        window = file.read(WINDOW + HEADER.size)
        found = window.find(MAGIC)
        while found >= 0:
            if parse(window, found, at + found) is not None:
                return at + found
            found = window.find(MAGIC, found + 1)
        if len(window) < WINDOW + HEADER.size:
            return None
        at += WINDOW  # a header across the border is whole in one of the two windows
