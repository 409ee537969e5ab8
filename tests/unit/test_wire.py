"""Messages between a process and its child: what travels, in which memory, and what happens when nobody hears."""

import contextlib
import gc
import importlib.util
import inspect
import logging
import os
import socket
import tempfile
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from embodied.runtime.memory import Memory
from embodied.runtime.wire import LARGE, Wire, _pickled
from embodied.types import Array, Spec

LAYOUT = {"flag": Array((3,), torch.bool), "nothing": Array((0, 2)), "number": Array((2, 2), torch.float64)}


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    wires = Wire(one, patience_s=1.0), Wire(other)
    yield wires
    for wire in wires:
        wire.close()


def through(ends, value):
    ends[0].tell(value)
    return ends[1].hear(5.0)


def same(found, sent):
    return found.dtype == sent.dtype and found.shape == sent.shape and bool((found == sent).all())


def test_bytes_travel_as_they_are(ends):
    assert through(ends, b"") == b""
    assert through(ends, b"s") == b"s"


def test_values_travel_in_order(ends):
    spec = Spec(obs={"state": Array((2,))}, action_dim=1, num_envs=1, control_hz=10.0)
    ends[0].tell(("built", spec))
    ends[0].tell(b".")
    assert ends[1].hear(5.0) == ("built", spec)
    assert ends[1].hear(5.0) == b"."


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.bfloat16, torch.float64, torch.int64])
@pytest.mark.parametrize("count", [0, 1, LARGE + 1])
def test_tensors_come_out_as_they_went_in_and_can_be_written(ends, dtype, count):
    sent = (torch.arange(2 * count).view(2, count) % 2).to(dtype)
    found = through(ends, {"a": [sent.T, sent]})["a"]
    assert same(found[0], sent.T)
    assert same(found[1], sent)
    found[1].fill_(1)
    assert bool((found[1] == 1).all())
    assert same(found[0], sent.T)


def test_parameters_scalars_and_arrays_travel_too(ends):
    parameter = torch.nn.Parameter(torch.ones(LARGE))
    array = np.arange(LARGE, dtype=np.int16)
    found = through(ends, (parameter, torch.tensor(3.5), array, array[::2]))
    assert isinstance(found[0], torch.nn.Parameter)
    assert found[0].requires_grad
    assert same(found[0], parameter)
    assert found[1].item() == 3.5
    assert same(found[2], array)
    assert same(found[3], array[::2])


def test_what_is_large_does_not_pass_through_the_socket(ends):
    sent = torch.arange(10_000_000, dtype=torch.uint8)  # nobody reads meanwhile, and a socket holds far less
    assert same(through(ends, sent), sent)


def test_both_ends_see_the_same_memory(ends):
    memory = Memory.of(LAYOUT)
    ours, theirs = memory.tensors(LAYOUT), through(ends, ("attach", memory))[1].tensors(LAYOUT)
    assert {name: x.shape for name, x in theirs.items()} == {"flag": (3,), "nothing": (0, 2), "number": (2, 2)}
    ours["number"].fill_(2.5)
    theirs["flag"][1] = True
    assert theirs["number"].tolist() == [[2.5, 2.5], [2.5, 2.5]]
    assert ours["flag"].tolist() == [False, True, False]


def test_memory_has_no_name_and_is_freed_with_its_last_view():
    before = len(os.listdir("/proc/self/fd"))
    view = Memory.of(LAYOUT).tensors(LAYOUT)["number"]
    assert [
        x for x in os.listdir("/proc/self/map_files") if "memfd" not in _target(x) and "embodied" in _target(x)
    ] == []
    view.fill_(1.0)
    assert view.sum() == 4.0
    del view
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_there_is_no_memory_without_a_name_a_deleted_file_does(ends, monkeypatch, tmp_path, caplog):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with caplog.at_level(logging.INFO):
        sent = torch.arange(LARGE + 1)
        assert same(through(ends, sent), sent)
    assert f"through a deleted file in {tmp_path}" in caplog.text
    assert list(tmp_path.iterdir()) == []


def _target(name):
    try:
        return os.readlink(f"/proc/self/map_files/{name}")
    except OSError:
        return ""


def test_silence_and_hanging_up_are_told_apart(ends):
    with pytest.raises(TimeoutError):
        ends[1].hear(0.05)
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].hear(0.05)


def test_a_message_that_stops_in_the_middle_is_not_waited_for(ends):
    ends[0].socket.sendall(b"\x01\x05")
    with pytest.raises(TimeoutError):
        ends[1].hear(0.05)


def test_nobody_waits_for_ever_for_one_who_does_not_read(ends):
    ends[0].patience_s = 0.1
    with pytest.raises(TimeoutError):
        ends[0].tell(b"x" * 10_000_000)


def test_a_message_larger_than_the_socket_arrives_while_it_is_read(ends):
    text = b"abc" * 1_000_000
    thread = threading.Thread(target=ends[0].tell, args=(text,))
    thread.start()
    assert ends[1].hear(5.0) == text
    thread.join()


def test_nothing_of_a_message_that_was_sent_waits_for_the_cyclic_collector():
    gc.disable()
    try:
        value = torch.zeros(1 << 20)
        alive = weakref.ref(value)
        _pickled({"x": value})
        del value
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("spin_s", [0.01, 5.0])
def test_a_late_message_is_heard_awake_or_asleep(ends, spin_s):
    later = threading.Timer(0.1, ends[0].tell, ((1, 2),))
    later.start()
    assert ends[1].hear(5.0, spin_s=spin_s) == (1, 2)
    later.join()


def test_hanging_up_is_noticed_awake(ends):
    later = threading.Timer(0.05, ends[0].close)
    later.start()
    with pytest.raises(EOFError):
        ends[1].hear(5.0, spin_s=5.0)
    later.join()


@pytest.mark.parametrize("spin_s", [0.01, 5.0])
def test_who_waits_awake_waits_no_longer_than_was_said(ends, spin_s):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        ends[1].hear(0.1, spin_s=spin_s)
    assert 0.09 < time.monotonic() - began < 2.0


def test_a_system_that_yields_no_core_can_wait_awake_too(monkeypatch):
    monkeypatch.delattr(os, "sched_yield", raising=False)
    spec = importlib.util.spec_from_file_location("wire_elsewhere", inspect.getfile(Wire))
    assert spec is not None
    assert spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    ours, theirs = (elsewhere.Wire(end) for end in socket.socketpair())
    later = threading.Timer(0.05, ours.tell, (b"s",))
    later.start()
    assert theirs.hear(5.0, spin_s=5.0) == b"s"
    later.join()
    ours.close()
    theirs.close()


def test_memory_arrives_through_a_socket_that_was_full_before_the_first_byte(ends):
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += ends[0].socket.send(b"x" * 4096)
    memory = Memory.of(LAYOUT)
    memory.tensors(LAYOUT)["number"].fill_(2.5)
    ends[0].patience_s = 5.0
    thread = threading.Thread(target=ends[0].tell, args=(("attach", memory),))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    assert ends[1]._receive(filled, time.monotonic() + 5.0) == b"x" * filled
    assert ends[1].hear(5.0)[1].tensors(LAYOUT)["number"].tolist() == [[2.5, 2.5], [2.5, 2.5]]
    thread.join()
