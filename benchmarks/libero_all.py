"""Every task of LIBERO: build, reset to a stored state, step, look. About 8 s for each on one core.

nice -n 19 python benchmarks/libero_all.py [suite]
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from embodied.environment import prepare
from embodied.types import Start

prepare()

from simulators.libero import LiberoRecipe  # noqa: E402  (after the environment variables are set)


def main(suite: str) -> None:
    torch.set_num_threads(1)
    env = LiberoRecipe(suite=suite, num_envs=1, processes=0, keep=1).build()
    works = 0
    for task, instruction in enumerate(env.spec.tasks):
        begun = time.monotonic()
        one = torch.tensor([True])
        env.reset(one, Start(torch.tensor([task]), torch.tensor([task % 50]), torch.tensor([0])))
        before = {name: x.clone() for name, x in env.observe().items()}
        step = env.step(torch.full((1, 4, env.spec.action_dim), 0.3))
        after = env.observe()
        pictures = [name for name in after if name.startswith("rgb/")]
        seen = all(after[name].float().std() > 10 and not torch.equal(before[name], after[name]) for name in pictures)
        works += (fine := bool(step.valid.all()) and seen and not step.success[0, 0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        word = "ok  " if fine else "LOOK"
        print(f"{word} {task:3d} {time.monotonic() - begun:5.1f} s, peak {peak:.0f} MB  {instruction}", flush=True)
    env.close()
    print(f"{works} of {len(env.spec.tasks)} tasks construct, reset, step and render")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "130")
