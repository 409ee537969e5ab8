"""Memory that processes share. It has no name, so nothing of it is left when they are gone, however they ended.

On Linux it is an anonymous file (`memfd_create`): memory like any other, whatever the size of /dev/shm, which is 64 MB
in a container. Elsewhere it is a deleted file in the folder for temporary files. Other processes get its descriptor
over a socket (`wire.py`), so interpreters and torch versions may differ.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import tempfile
from collections.abc import Mapping

import torch
from torch import Tensor

from embodied.types import Array

log = logging.getLogger(__name__)
ALIGNMENT = 64  # bytes, a line of the cache


class Memory:
    """`size` bytes, zero at first; with `fd`, what another process made. Freed with the last process that maps it."""

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.size = size
        self.fd = _create(max(size, 1)) if fd is None else fd
        self.map = mmap.mmap(self.fd, max(size, 1))

    def __del__(self) -> None:
        if (fd := self.__dict__.pop("fd", None)) is not None:
            os.close(fd)  # what is mapped stays mapped, as long as a tensor looks at it

    def tensors(self, layout: Mapping[str, Array]) -> dict[str, Tensor]:
        """The tensors that `layout` describes, one after the other, as views."""
        found: dict[str, Tensor] = {}
        offset = 0
        for name, array in layout.items():
            count = math.prod(array.shape)
            if count:
                flat = torch.frombuffer(self.map, dtype=array.dtype, count=count, offset=offset)
                found[name] = flat.view(array.shape)
            else:
                found[name] = torch.zeros(array.shape, dtype=array.dtype)
            offset = aligned(offset + count * array.dtype.itemsize)
        return found

    @staticmethod
    def of(layout: Mapping[str, Array]) -> Memory:
        """Room for the tensors of `layout`."""
        return Memory(sum(aligned(math.prod(a.shape) * a.dtype.itemsize) for a in layout.values()))


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _create(size: int) -> int:
    """A descriptor of `size` bytes."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("embodied", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return fd
    with tempfile.TemporaryFile() as file:
        log.info("%.1f MB are shared through a deleted file in %s.", size / 1e6, tempfile.gettempdir())
        fd = os.dup(file.fileno())
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)  # a full disk is an error here, not a signal at the first write
    else:
        os.truncate(fd, size)
    return fd
