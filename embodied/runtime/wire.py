"""One end of a conversation between a process and its child: bytes as they are, anything else pickled.

What is pickled comes from our own process at the other end of a private socket, from nowhere else. Large tensors and
arrays do not pass through the socket: they lie in shared memory, whose descriptor goes along with the message.

    message: kind, length | payload            with descriptors attached to its first byte
    payload: sizes of the buffers in shared memory, then the value
    a single byte has no payload: it stands where its length would, so that it is read at once
"""

from __future__ import annotations

import io
import math
import os
import pickle
import select
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import torch
from torch import Tensor

from embodied.runtime.memory import Memory, aligned

HEADER = struct.Struct("<BQ")
BYTE, BYTES, PICKLED = 0, 1, 2  # kinds
LARGE = 1 << 16  # bytes from which a buffer goes through shared memory
YIELD: Callable[[], None] = getattr(os, "sched_yield", lambda: time.sleep(0))  # macOS has none
DESCRIPTORS = socket.CMSG_LEN(16 * array("i").itemsize)  # room for those of one message


class Wire:
    """wire.tell(...); wire.hear(timeout_s). Of one thread."""

    def __init__(self, connection: socket.socket, patience_s: float | None = None) -> None:
        connection.setblocking(False)  # what can be done at once costs one system call
        self.socket = connection
        self.patience_s = patience_s  # for the other end to make room for a message

    def tell(self, what: Any) -> None:
        """Send; OSError when nobody is there to read it."""
        message, kept = (_framed(what), []) if isinstance(what, bytes) else _pickled(what)
        descriptors, deadline = [memory.fd for memory in kept], _deadline(self.patience_s)
        rest = memoryview(message)
        while rest:
            try:
                sent = socket.send_fds(self.socket, [rest], descriptors) if descriptors else self.socket.send(rest)
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            else:
                rest, descriptors = rest[sent:], []

    def hear(self, timeout_s: float | None = None, *, spin_s: float = 0.0) -> Any:
        """What the other end says next. EOFError when it hung up; TimeoutError when it said nothing in time.

        For `spin_s` it only yields the core, instead of going to sleep: waking takes tens of microseconds.
        """
        deadline = _deadline(timeout_s)
        awake_s = spin_s if timeout_s is None else min(spin_s, timeout_s)
        header, descriptors = self._first(deadline, time.monotonic() + awake_s if spin_s else 0.0)
        header += self._receive(HEADER.size - len(header), deadline)
        kind, length = HEADER.unpack(header)
        if kind == BYTE:
            return bytes((length,))
        payload = self._receive(length, deadline)
        return payload if kind == BYTES else _unpickled(payload, descriptors)

    def close(self) -> None:
        self.socket.close()

    def _first(self, deadline: float | None, spin_until: float) -> tuple[bytes, list[int]]:
        """The beginning of a message, and the descriptors that came with it."""
        while True:
            try:
                header, ancillary, _, _ = self.socket.recvmsg(HEADER.size, DESCRIPTORS)
            except BlockingIOError:
                if spin_until and time.monotonic() < spin_until:
                    YIELD()
                else:
                    self._wait(select.POLLIN, deadline)
                continue
            if not header:
                raise EOFError
            found = array("i")
            for _, _, data in ancillary:
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
            return header, found.tolist()

    def _receive(self, length: int, deadline: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self.socket.recv(min(length - len(parts), 1 << 20))
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _wait(self, event: int, deadline: float | None) -> None:
        """Until the socket can be read or written, or nobody is at its other end."""
        poll = select.poll()
        poll.register(self.socket, event)
        left = None if deadline is None else 1e3 * max(deadline - time.monotonic(), 1e-3)
        if not poll.poll(left):
            raise TimeoutError


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


class Script:
    """The file that the parent runs as `__main__`. A child loads it, not as a script, when it needs what is defined
    there: a script of someone's own recipes can be run as it is."""

    path: str | None = None  # in a child, until it is loaded
    is_loading = False

    @staticmethod
    def load() -> None:
        if Script.path is None:
            return
        loader = SourceFileLoader("__mp_main__", Script.path)  # the name that multiprocessing gives it, too
        spec = spec_from_loader("__mp_main__", loader)
        assert spec is not None
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module_from_spec(spec)
        Script.path, Script.is_loading = None, True
        loader.exec_module(sys.modules["__mp_main__"])
        Script.is_loading = False


class _Pickler(pickle.Pickler):
    """Collects what goes along in shared memory: blocks of ours by descriptor, large buffers into one new block."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._is_small)
        self.large: list[memoryview] = []
        self.blocks: list[Memory] = []

    def persistent_id(self, obj: Any) -> tuple[int, int] | None:
        if not isinstance(obj, Memory):
            return None
        self.blocks.append(obj)
        return len(self.blocks) - 1, obj.size

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not Tensor or obj.device.type != "cpu" or obj.layout != torch.strided:
            return NotImplemented
        if obj.requires_grad or obj.is_complex() or obj.is_quantized:
            return NotImplemented
        flat: Any = obj.contiguous().view(-1).view(torch.uint8).numpy()
        return _tensor, (pickle.PickleBuffer(flat), obj.dtype, tuple(obj.shape))

    def release(self) -> tuple[list[memoryview], list[Memory]]:
        """What it collected. It holds itself by its callback: what it kept would wait for the cyclic collector."""
        large, blocks, self.large, self.blocks = self.large, self.blocks, [], []
        self.clear_memo()
        return large, blocks

    def _is_small(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        self.large.append(raw)
        return False


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Sequence[memoryview], blocks: Sequence[int]) -> None:
        super().__init__(file, buffers=buffers)
        self.blocks = blocks

    def persistent_load(self, pid: tuple[int, int]) -> Memory:
        index, size = pid
        return Memory(size, self.blocks[index])

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "__main__":
            Script.load()
        return super().find_class(module_name, global_name)


def _tensor(buffer: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).view(shape)


def _framed(what: bytes) -> bytes:
    if len(what) == 1:
        return HEADER.pack(BYTE, what[0])
    return HEADER.pack(BYTES, len(what)) + what


def _pickled(value: Any) -> tuple[bytes, list[Memory]]:
    """The message, and the memory that goes along: blocks that `value` names, then one with its large buffers."""
    body = io.BytesIO()
    pickler = _Pickler(body)
    pickler.dump(value)
    large, kept = pickler.release()
    sizes = [raw.nbytes for raw in large]
    if sizes:
        memory = Memory(sum(map(aligned, sizes)))
        offset = 0
        with memoryview(memory.map) as room:
            for raw in large:
                room[offset : offset + raw.nbytes] = raw
                offset += aligned(raw.nbytes)
        kept = [*kept, memory]
    payload = pickle.dumps(sizes) + body.getvalue()
    return HEADER.pack(PICKLED, len(payload)) + payload, kept


def _unpickled(payload: bytes, descriptors: Sequence[int]) -> Any:
    for fd in descriptors:
        os.set_inheritable(fd, False)
    body = io.BytesIO(payload)
    sizes: list[int] = pickle.load(body)
    buffers: list[memoryview] = []
    if sizes:
        room = memoryview(Memory(sum(map(aligned, sizes)), descriptors[-1]).map)
        offset = 0
        for size in sizes:
            buffers.append(room[offset : offset + size])
            offset += aligned(size)
    return _Unpickler(body, buffers, descriptors).load()
