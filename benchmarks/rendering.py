"""Pictures: the simulators as they come, against ours drawn faithfully and fast, and how alike the pictures are.

    python benchmarks/rendering.py [pairs=5] [only=libero,robosuite,maniskill,gym_hil,tabletop] [images=docs/images]

Each simulator runs in a process of its own, on one core: the simulator's own environment with its default settings,
and ours, take turns in windows of a few steps with one observation each. Ratios are of neighbours in time. SSIM is of
our two pictures of the same state, mean over states along an episode. `images=` writes them side by side.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.environment import prepare
from embodied.interfaces import EnvRecipe
from embodied.types import Start

SIZE, LOOKS = 128, 6
TARGETS = {"libero": 2.7, "robosuite": 2.5, "maniskill": 3.5, "gym_hil": 7.0}


@dataclass(frozen=True)
class Found:
    """Of one simulator: steps/s of its own default, of ours, and how alike ours are (LOOKS states)."""

    title: str
    default: list[float]
    faithful: list[float]
    fast: list[float]
    similarity: list[float]
    pictures: NDArray[np.uint8]  # (H, 2 W, 3) faithful and fast


class Ours:
    """One environment of ours with random actions, observed after each."""

    def __init__(self, recipe: EnvRecipe, window: int) -> None:
        self.env, self.window = recipe.build(), window
        self.generator = torch.Generator().manual_seed(0)
        self.begin()

    def begin(self) -> None:
        self.env.reset(torch.ones(1, dtype=torch.bool), Start.seeded([0]))
        self.env.observe()

    def advance(self, steps: int) -> None:
        size = self.env.spec.action_dim
        for _ in range(steps):
            self.env.step(torch.rand(1, 1, size, generator=self.generator) * 0.6 - 0.3)
            self.env.observe()

    def rate(self) -> float:
        self.begin()
        return timed(self.advance, self.window)

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        return {name: x[0].numpy().copy() for name, x in self.env.observe().items() if name.startswith("rgb/")}


def timed(advance: Callable[[int], None], steps: int) -> float:
    began = time.perf_counter()
    advance(steps)
    return steps / (time.perf_counter() - began)


def libero() -> tuple[str, EnvRecipe, Callable[[int], None], int]:
    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs import OffScreenRenderEnv

    from simulators.libero import LiberoRecipe

    suite = benchmark.get_benchmark_dict()["libero_spatial"]()
    task = suite.get_task(0)
    bddl = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
    env = OffScreenRenderEnv(bddl_file_name=bddl, camera_heights=SIZE, camera_widths=SIZE)
    env.seed(0)
    env.reset()
    draw = np.random.default_rng(0)
    return (
        "LIBERO spatial, two cameras",
        LiberoRecipe(suite="spatial", tasks=(0,), num_envs=1, processes=0, image_size=SIZE),
        repeated(lambda: env.step(draw.uniform(-0.3, 0.3, 7))),
        8,
    )


def robosuite() -> tuple[str, EnvRecipe, Callable[[int], None], int]:
    import robosuite as suite

    from simulators.robosuite import RobosuiteRecipe

    controller = suite.load_controller_config(default_controller="OSC_POSE")
    env = suite.make(
        "Lift",
        robots="Panda",
        controller_configs=controller,
        camera_names="agentview",
        camera_heights=SIZE,
        camera_widths=SIZE,
        ignore_done=True,
    )
    env.reset()
    draw = np.random.default_rng(0)
    return (
        "robosuite Lift, one camera",
        RobosuiteRecipe(task="Lift", num_envs=1, processes=0, obs="rgb", cameras=("agentview",), image_size=SIZE),
        repeated(lambda: env.step(draw.uniform(-0.3, 0.3, env.action_dim))),
        16,
    )


def maniskill() -> tuple[str, EnvRecipe, Callable[[int], None], int]:
    import gymnasium
    import mani_skill.envs  # noqa: F401

    from simulators.maniskill import ManiSkillRecipe

    env = gymnasium.make(
        "PickCube-v1", obs_mode="rgb", sim_backend="physx_cpu", render_backend="cpu", max_episode_steps=-1
    )
    env.reset(seed=0)
    space: Any = env.action_space
    draw = np.random.default_rng(0)
    recipe = ManiSkillRecipe(
        task="PickCube-v1", num_envs=1, processes=0, backend="cpu", obs="rgb", image_size=SIZE, control=None
    )
    return (
        "ManiSkill PickCube, one camera",
        recipe,
        repeated(lambda: env.step(draw.uniform(-0.3, 0.3, space.shape))),
        16,
    )


def gym_hil() -> tuple[str, EnvRecipe, Callable[[int], None], int]:
    import gymnasium

    from simulators.gymnasium import GymnasiumRecipe

    env = gymnasium.make("gym_hil:gym_hil/PandaPickCubeBase-v0", image_obs=True, max_episode_steps=-1)
    env.reset(seed=0)
    space: Any = env.action_space
    draw = np.random.default_rng(0)
    recipe = GymnasiumRecipe(
        task="gym_hil:gym_hil/PandaPickCubeBase-v0", num_envs=1, processes=0, kwargs={"image_obs": True}
    )
    return (
        "gym-hil PickCube, two cameras",
        recipe,
        repeated(lambda: env.step(draw.uniform(-0.3, 0.3, space.shape).astype(np.float32))),
        8,
    )


def repeated(step: Callable[[], object]) -> Callable[[int], None]:
    def advance(steps: int) -> None:
        for _ in range(steps):
            step()

    return advance


SIMULATORS = {"libero": libero, "robosuite": robosuite, "maniskill": maniskill, "gym_hil": gym_hil}


def compare(name: str, pairs: int) -> Found:
    from skimage.metrics import structural_similarity

    if name == "libero":  # its own environment finds its meshes as ours tells it to
        from simulators.libero_assets import assets_folder
        from simulators.libero_package import import_libero

        import_libero(assets_folder(None))
    title, recipe, default, window = SIMULATORS[name]()
    named: Any = recipe
    faithful, fast = Ours(replace(named, render="faithful"), window), Ours(replace(named, render="fast"), window)
    alternate(1, lambda: timed(default, 2), faithful.rate, fast.rate)  # warm up
    rates = alternate(pairs, lambda: timed(default, window), faithful.rate, fast.rate)
    similarity: list[float] = []
    pair: list[NDArray[np.uint8]] = []
    for env in (faithful, fast):
        env.begin()
        env.generator.manual_seed(1)
    for _ in range(LOOKS):
        looks = faithful.pictures(), fast.pictures()
        for camera in looks[0]:
            similarity.append(float(structural_similarity(looks[0][camera], looks[1][camera], channel_axis=2)))
        pair = [np.concatenate(list(look.values()), axis=0) for look in looks]
        faithful.advance(4)
        fast.advance(4)
    return Found(title, *rates, similarity, np.concatenate(pair, axis=1))


def tabletop(pairs: int) -> list[Target]:
    """Pictures alone, and control steps with one picture each; on one core."""
    from simulators.tabletop import Tabletop, TabletopRecipe

    recipe = TabletopRecipe(tasks=("push",), num_envs=1, processes=0, obs="rgb", image_size=SIZE)
    scene = Tabletop(recipe)
    scene.reset(0, -1, 0)
    ours = Ours(recipe, 100)
    alternate(1, lambda: timed(repeated(scene.observe), 50), ours.rate)
    looks, steps = alternate(pairs, lambda: timed(repeated(scene.observe), 400), ours.rate)
    rows = [("pictures/s", str(Spread.of(looks))), ("control steps/s, one picture each", str(Spread.of(steps)))]
    table(f"tabletop push, one {SIZE} px camera, one core", ("", "per second"), rows)
    return [
        Target(f"tabletop, pictures at {SIZE} px", Spread.of(looks).median, "pictures/s", 800),
        Target("tabletop, control steps with a picture each", Spread.of(steps).median, "steps/s", 250),
    ]


def report(name: str, found: Found, images: Path | None) -> list[Target]:
    fast, faithful = ratios(found.fast, found.default), ratios(found.faithful, found.default)
    rows = [
        ("its own environment, default settings", str(Spread.of(found.default)), "1"),
        ("ours, render=faithful", str(Spread.of(found.faithful)), str(faithful)),
        ("ours, render=fast", str(Spread.of(found.fast)), str(fast)),
    ]
    table(f"{found.title}, {SIZE} px, one core", ("", "steps/s", "ratio of pairs"), rows)
    similarity = float(np.mean(found.similarity))
    print(f"SSIM of fast to faithful: mean {similarity:.3f}, least {min(found.similarity):.3f}", flush=True)
    if images is not None:
        import imageio.v3 as imageio

        images.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(images / f"render_{name}.png", found.pictures.repeat(2, axis=0).repeat(2, axis=1))
    return [
        Target(f"{found.title}: fast / default", fast.median, "ratio", TARGETS[name]),
        Target(f"{found.title}: SSIM of fast to faithful", similarity, "SSIM", 0.9),
    ]


def alone(name: str, pairs: int, answer: Any) -> None:
    """The child: one simulator, one core."""
    prepare()
    torch.set_num_threads(1)
    try:
        answer.put(tabletop(pairs) if name == "tabletop" else compare(name, pairs))
    except BaseException:
        answer.put(traceback.format_exc())


def main() -> None:
    prepare()
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    pairs, names = int(words.get("pairs", 5)), words.get("only", ",".join([*SIMULATORS, "tabletop"])).split(",")
    images = Path(words["images"]) if "images" in words else None
    context = mp.get_context("spawn")
    targets: list[Target] = []
    for name in names:
        answer = context.Queue()
        child = context.Process(target=alone, args=(name, pairs, answer))
        child.start()
        found = answer.get()
        child.join()
        if isinstance(found, str):
            print(f"{name} could not be measured:\n{found}", flush=True)
            targets.append(Target(f"{name}: fast / default", None, "ratio", TARGETS.get(name, 0)))
        else:
            targets += found if isinstance(found, list) else report(name, found, images)
    finish("rendering", targets)


if __name__ == "__main__":
    main()
