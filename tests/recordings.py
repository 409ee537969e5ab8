"""Small episodes that tests write, read and compare."""

from __future__ import annotations

import numpy as np
import torch

from embodied.data.dataset import examined
from embodied.data.recording import Damage, Dataset, Facts, Label, Recording
from embodied.types import Array, Spec

SPEC = Spec(
    obs={
        "rgb/agent": Array((8, 10, 3), torch.uint8),
        "state": Array((3,)),
        "depth/agent": Array((8, 10, 1)),
    },
    action_dim=2,
    num_envs=1,
    control_hz=20.0,
    tasks=("push the cube", "pick the cube"),
    robot="panda",
)
FACTS = Facts(SPEC, simulator={"_target_": "simulators.fake.Fake", "num_envs": 1}, origin="tests")


def episode(length, seed=0, *, complete=True, label=None):
    generator = np.random.default_rng(seed)
    rows = length + complete
    obs = {
        "rgb/agent": generator.integers(0, 256, (rows, 8, 10, 3), dtype=np.uint8),
        "state": generator.normal(size=(rows, 3)).astype(np.float32),
        "depth/agent": np.tile(np.arange(rows, dtype=np.float32)[:, None, None, None], (1, 8, 10, 1)),
    }
    flags = (generator.random((3, length)) < 0.3).astype(bool)
    action = generator.uniform(-1, 1, (length, 2)).astype(np.float32)
    reward = generator.normal(size=length).astype(np.float32)
    return Recording(obs, action, reward, *flags, label=label or Label(1, 7, seed, "script"))


def assert_same(a, b):
    assert a.label == b.label
    assert set(a.obs) == set(b.obs)
    for name in a.obs:
        assert a.obs[name].dtype == b.obs[name].dtype
        np.testing.assert_array_equal(a.obs[name], b.obs[name])
    for name in ("action", "reward", "terminated", "success", "human"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.lesson, b.lesson)


def whole_in(dataset: Dataset) -> list[Recording]:
    """Its episodes, none of which may be damaged."""
    found = [item for _, item in examined(dataset)]
    assert not [item.reason for item in found if isinstance(item, Damage)]
    return [item for item in found if isinstance(item, Recording)]
