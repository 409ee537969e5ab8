"""What libraries say of damaged bytes, as our sentence: a file from elsewhere may hold anything."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from embodied.errors import DatasetError

# Most errors of pyarrow, PyAV, h5py and PIL derive from these; a size that was damaged may ask for any memory.
DAMAGE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, EOFError, MemoryError,
)  # fmt: skip


@contextmanager
def decoding(what: object, *more: type[Exception]) -> Generator[None]:
    """`what` is the file or episode that is read inside; `more` are errors of the library that have no such base."""
    try:
        yield
    except (*DAMAGE, *more) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(f"{what} does not decode ({said}).") from None
