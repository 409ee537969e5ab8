"""Pictures: the simulators as they come, against ours drawn faithfully and fast, and how alike the pictures are.

    python benchmarks/rendering.py [pairs=5] [only=libero,robosuite,maniskill,gym_hil,tabletop] [images=docs/images]

The simulator's own environment with its default settings and ours, faithful and fast, take turns in windows of a few
steps with one observation each, one core at a time, each in a process of its own: robosuite draws in whatever OpenGL
context is current. Ratios are of neighbours in time. SSIM is of our two pictures of the same state, mean over states
along an episode. `images=` writes them side by side.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
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
DRAW = np.random.default_rng(0)  # of actions
TARGETS = {"libero": 2.7, "robosuite": 2.5, "maniskill": 3.5, "gym_hil": 7.0}  # fast / default
ALIKE = ("libero", "robosuite", "maniskill")  # gym-hil's spotlights light the floor only where shadows are drawn


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

    def episode(self) -> list[dict[str, NDArray[np.uint8]]]:
        """What its cameras show at LOOKS moments of an episode, the same for faithful and fast."""
        self.begin()
        self.generator.manual_seed(1)
        looks: list[dict[str, NDArray[np.uint8]]] = []
        for _ in range(LOOKS):
            looks.append({k: x[0].numpy().copy() for k, x in self.env.observe().items() if k.startswith("rgb/")})
            self.advance(4)
        return looks


Advance = Callable[[int], None]  # so many steps
Made = tuple[str, EnvRecipe, Callable[[], Advance], int]  # title, our recipe, what builds theirs, steps in a window


def timed(advance: Advance, steps: int) -> float:
    began = time.perf_counter()
    advance(steps)
    return steps / (time.perf_counter() - began)


def libero() -> Made:
    def own() -> Advance:
        from simulators.libero_assets import assets_folder
        from simulators.libero_package import import_libero
        from simulators.libero_suites import choose

        bddl = str(choose("spatial", (0,))[0].bddl)
        envs = import_libero(assets_folder(None))  # finds its meshes as ours does
        env = envs.OffScreenRenderEnv(bddl_file_name=bddl, camera_heights=SIZE, camera_widths=SIZE)
        env.seed(0)
        env.reset()
        return repeated(lambda: env.step(DRAW.uniform(-0.3, 0.3, 7)))

    from simulators.libero import LiberoRecipe

    recipe = LiberoRecipe(suite="spatial", tasks=(0,), num_envs=1, processes=0, image_size=SIZE)
    return "LIBERO spatial, two cameras", recipe, own, 8


def robosuite() -> Made:
    def own() -> Advance:
        import robosuite as suite

        env = suite.make(
            "Lift",
            robots="Panda",
            controller_configs=suite.load_controller_config(default_controller="OSC_POSE"),
            camera_names="agentview",
            camera_heights=SIZE,
            camera_widths=SIZE,
            ignore_done=True,
        )
        env.reset()
        return repeated(lambda: env.step(DRAW.uniform(-0.3, 0.3, env.action_dim)))

    from simulators.robosuite import RobosuiteRecipe

    recipe = RobosuiteRecipe(task="Lift", num_envs=1, processes=0, obs="rgb", cameras=("agentview",), image_size=SIZE)
    return "robosuite Lift, one camera", recipe, own, 16


def maniskill() -> Made:
    def own() -> Advance:
        import gymnasium
        import mani_skill.envs  # noqa: F401

        env = gymnasium.make(
            "PickCube-v1", obs_mode="rgb", sim_backend="physx_cpu", render_backend="cpu", max_episode_steps=-1
        )
        env.reset(seed=0)
        shape: Any = env.action_space.shape
        return repeated(lambda: env.step(DRAW.uniform(-0.3, 0.3, shape)))

    from simulators.maniskill import ManiSkillRecipe

    recipe = ManiSkillRecipe(
        task="PickCube-v1", num_envs=1, processes=0, backend="cpu", obs="rgb", image_size=SIZE, control=None
    )
    return "ManiSkill PickCube, one camera", recipe, own, 16


def gym_hil() -> Made:
    task, kwargs = "gym_hil:gym_hil/PandaPickCubeBase-v0", {"image_obs": True}

    def own() -> Advance:
        import gymnasium

        env = gymnasium.make(task, max_episode_steps=-1, **kwargs)
        env.reset(seed=0)
        shape: Any = env.action_space.shape
        return repeated(lambda: env.step(DRAW.uniform(-0.3, 0.3, shape).astype(np.float32)))

    from simulators.gymnasium import GymnasiumRecipe

    recipe = GymnasiumRecipe(task=task, num_envs=1, processes=0, kwargs={**kwargs})
    return "gym-hil PickCube, two cameras", recipe, own, 8


def repeated(step: Callable[[], object]) -> Advance:
    def advance(steps: int) -> None:
        for _ in range(steps):
            step()

    return advance


SIMULATORS = {"libero": libero, "robosuite": robosuite, "maniskill": maniskill, "gym_hil": gym_hil}


def serve(name: str, kind: str, connection: Connection) -> None:
    """A child: one environment, which answers with its rate or with its pictures along an episode."""
    prepare()
    torch.set_num_threads(1)
    title, recipe, own, window = SIMULATORS[name]()
    named: Any = recipe
    answers: dict[str, Callable[[], Any]]
    if kind == "default":
        theirs = own()
        answers = {"rate": lambda: timed(theirs, window)}
    else:
        ours = Ours(replace(named, render=kind), window)
        answers = {"rate": ours.rate, "pictures": ours.episode}
    connection.send(title)
    while (asked := connection.recv()) is not None:
        connection.send(answers[asked]())
    connection.close()


class Child:
    def __init__(self, name: str, kind: str) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, kind, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.title: str = self.pipe.recv()  # EOFError when it could not be built

    def ask(self, what: str) -> Any:
        self.pipe.send(what)
        return self.pipe.recv()

    def rate(self) -> float:
        return self.ask("rate")

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join(10)
        self.process.kill()


def compare(name: str, pairs: int) -> Found:
    from skimage import metrics

    library: Any = metrics

    def measure(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        return float(library.structural_similarity(one, other, channel_axis=2))

    children = [Child(name, kind) for kind in ("default", "faithful", "fast")]
    alternate(1, *(child.rate for child in children))  # warm up
    default, faithful, fast = alternate(pairs, *(child.rate for child in children))
    looks, others = (child.ask("pictures") for child in children[1:])
    similarity = [
        measure(one[camera], other[camera]) for one, other in zip(looks, others, strict=True) for camera in one
    ]
    pair = [np.concatenate(list(last.values()), axis=0) for last in (looks[-1], others[-1])]
    for child in children:
        child.close()
    return Found(children[0].title, default, faithful, fast, similarity, np.concatenate(pair, axis=1))


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
    alike = [Target(f"{found.title}: SSIM of fast to faithful", similarity, "SSIM", 0.9)] if name in ALIKE else []
    return [Target(f"{found.title}: fast / default", fast.median, "ratio", TARGETS[name]), *alike]


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    pairs, names = int(words.get("pairs", 5)), words.get("only", ",".join([*SIMULATORS, "tabletop"])).split(",")
    images = Path(words["images"]) if "images" in words else None
    targets: list[Target] = []
    for name in names:
        if name == "tabletop":
            targets += tabletop(pairs)
            continue
        try:
            targets += report(name, compare(name, pairs), images)
        except EOFError:
            print(f"{name} could not be measured: its process ended, see above", flush=True)
            targets.append(Target(f"{name}: fast / default", None, "ratio", TARGETS[name]))
    finish("rendering", targets)


if __name__ == "__main__":
    main()
