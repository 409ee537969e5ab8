"""What every test needs: the environment variables that simulators read when they are imported, and one thread."""

from __future__ import annotations

from embodied.environment import prepare

prepare()

import torch  # noqa: E402

torch.set_num_threads(1)
