"""How one observation, and one step, lies in bytes: fixed by the dataset's spec, so that a record holds only values.

A step is the action, the outcome, the intended action where it differs (a bit of the outcome says so), and what was
seen. Vectors are raw. Pictures are compressed without loss by zlib's fastest level, unless that makes them no smaller.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import DatasetError
from embodied.types import Spec

PICTURE = struct.Struct("<BI")  # how it is stored, bytes
RAW, ZLIB = 0, 1
OUTCOME = struct.Struct("<fB")  # reward; terminated, success, human, and whether an intended action follows, as bits
TERMINATED, SUCCESS, HUMAN, INTENDED = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape))

    @property
    def is_picture(self) -> bool:
        return len(self.shape) == 3

    def check(self, value: Any) -> NDArray[Any]:
        """`value` as it is stored; another shape, or a type that does not fit, is an error."""
        array = np.asarray(value)
        if array.shape != self.shape or not np.can_cast(array.dtype, self.dtype, casting="same_kind"):
            raise DatasetError(
                f"the dataset wants {self.name} as {self.dtype} {self.shape} and was given {array.dtype} "
                f"{array.shape}; the step was not written. Record with the simulator whose facts the dataset has."
            )
        return np.ascontiguousarray(array, dtype=self.dtype)


def fields_of(spec: Spec) -> list[Field]:
    """The observations of `spec` in the order of a record: vectors first, then pictures."""
    fields = [
        Field(name, np.dtype(str(array.dtype).removeprefix("torch.")), tuple(array.shape))
        for name, array in spec.obs.items()
    ]
    return sorted(fields, key=lambda field: field.is_picture)


class Layout:
    """The bytes of one dataset's records."""

    def __init__(self, spec: Spec) -> None:
        self.fields = fields_of(spec)
        self.action = Field("action", np.dtype(np.float32), (spec.action_dim,))
        self.intended = replace(self.action, name="intended")

    def pack_obs(self, obs: Mapping[str, Any]) -> bytes:
        missing = [field.name for field in self.fields if field.name not in obs]
        if missing:
            raise DatasetError(
                f"the dataset wants the observation {missing[0]} and was given {', '.join(obs)}; the step was not "
                f"written. Record with the simulator whose facts the dataset has."
            )
        return b"".join(part for field in self.fields for part in _pack(field, field.check(obs[field.name])))

    def pack_step(
        self,
        obs: Mapping[str, Any],
        action: Any,
        reward: float,
        *,
        terminated: bool,
        success: bool,
        human: bool,
        intended: Any = None,
    ) -> bytes:
        executed = self.action.check(action).tobytes()
        wanted = b"" if intended is None else self.intended.check(intended).tobytes()
        wanted = b"" if wanted == executed else wanted
        bits = TERMINATED * bool(terminated) | SUCCESS * bool(success) | HUMAN * bool(human) | INTENDED * bool(wanted)
        return executed + OUTCOME.pack(reward, bits) + wanted + self.pack_obs(obs)

    def unpack_step(self, data: memoryview) -> tuple[NDArray[np.float32], float, int, NDArray[np.float32], memoryview]:
        """Action, reward, bits, the intended action, and the bytes of the observation."""
        action, at = self._action(data, 0)
        reward, bits = OUTCOME.unpack_from(data, at)
        at += OUTCOME.size
        intended, at = self._action(data, at) if bits & INTENDED else (action, at)
        return action, reward, bits, intended, data[at:]

    def _action(self, data: memoryview, at: int) -> tuple[NDArray[np.float32], int]:
        """The action at `at`, and where it ends."""
        return np.frombuffer(data, dtype=np.float32, count=self.action.shape[0], offset=at), at + self.action.size

    def unpack_obs(self, data: memoryview, into: Mapping[str, NDArray[Any]], row: int) -> None:
        """Write the observation in `data` into `row` of the arrays of `into`; fields that it lacks are passed over."""
        at = 0
        for field in self.fields:
            stored, size, at = _bounds(field, data, at)
            if field.name in into:
                raw = data[at : at + size]
                plain = raw if stored == RAW else zlib.decompress(raw)
                into[field.name][row] = np.frombuffer(plain, dtype=field.dtype).reshape(field.shape)
            at += size
        if at != len(data):
            raise DatasetError(
                f"a record holds {len(data)} bytes of observations where the dataset's spec makes it {at}."
            )


def _pack(field: Field, array: NDArray[Any]) -> Iterable[bytes]:
    raw = array.tobytes()
    if not field.is_picture:
        return (raw,)
    small = zlib.compress(raw, 1)
    how, kept = (ZLIB, small) if len(small) < len(raw) else (RAW, raw)
    return PICTURE.pack(how, len(kept)), kept


def _bounds(field: Field, data: memoryview, at: int) -> tuple[int, int, int]:
    """How the field at `at` is stored, its bytes, and where they begin."""
    if not field.is_picture:
        return RAW, field.size, at
    how, size = PICTURE.unpack_from(data, at)
    return how, size, at + PICTURE.size
