"""Pictures of Gymnasium environments that run on MuJoCo: drawn fast, and where asked for, only when somebody looks.

Such environments own their renderers, make them when they like and draw inside their `step`. While one of them is at
work here, what it takes from the `mujoco` module is ours: an OpenGL context of a light model, and a renderer that can
put off its drawing. Of an environment nothing is changed but the reflectance of its model's materials, which only
pictures show, and outside these blocks nothing of `mujoco` is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError
from simulators.mujoco_camera import light


@contextmanager
def drawn_fast() -> Iterator[None]:
    """Renderers that are made meanwhile draw without shadows, reflections and multisampling, and light meshes."""
    mujoco: Any = sys.modules.get("mujoco")
    if mujoco is None:  # the environment has nothing to do with it
        yield
        return
    make = mujoco.MjrContext

    def make_light(model: Any, *args: Any, **kwargs: Any) -> Any:
        model.mat_reflectance[:] = 0  # a scene copies them from the model whenever it is updated
        with light(model, max(model.vis.global_.offwidth, model.vis.global_.offheight)):
            return make(model, *args, **kwargs)

    mujoco.MjrContext = make_light
    try:
        yield
    finally:
        mujoco.MjrContext = make


class Postponed:
    """Pictures that `mujoco.Renderer` was asked for and has not drawn: arrays that are filled when somebody looks.

    with postponed.collecting():        the environment steps; it gets empty pictures
        raw = env.step(action)
    postponed.check(raw["pixels"])      they are the same arrays that it hands out
    postponed.draw()                    filled
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.views: dict[int, tuple[Any, ...]] = {}  # by renderer, the arguments of its last `update_scene`
        self.pending: list[tuple[Any, tuple[Any, ...], NDArray[np.uint8], NDArray[np.float64]]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """What was put off before is forgotten: nobody looked."""
        import mujoco

        renderer: Any = mujoco.Renderer
        update, render = renderer.update_scene, renderer.render
        self.pending.clear()

        def update_later(drawer: Any, data: Any, camera: Any = -1, scene_option: Any = None) -> None:
            self.views[id(drawer)] = (data, camera, scene_option)

        def render_later(drawer: Any, *, out: Any = None) -> Any:
            view = self.views.get(id(drawer))
            if view is None or drawer._depth_rendering or drawer._segmentation_rendering:
                if view is not None:
                    update(drawer, *view)
                return render(drawer, out=out)
            picture = np.zeros((drawer.height, drawer.width, 3), np.uint8) if out is None else out
            self.pending.append((drawer, view, picture, _moment(view[0])))
            return picture

        renderer.update_scene, renderer.render = update_later, render_later
        try:
            yield
        finally:
            renderer.update_scene, renderer.render = update, render

    def check(self, pictures: list[Any]) -> None:
        """That every picture handed out is one that can still be filled."""
        for picture in pictures:
            if not any(np.may_share_memory(picture, array) for _, _, array, _ in self.pending):
                raise ConfigError(
                    f"{self.task} makes something else of its pictures before it hands them out, so they cannot be "
                    f"drawn later; nothing was. Set postpone_pictures=false."
                )

    def draw(self) -> None:
        for drawer, view, picture, moment in self.pending:
            if not np.array_equal(moment, _moment(view[0])):
                raise ConfigError(
                    f"{self.task} moved on after it took its pictures, so they cannot be drawn later; they were not. "
                    f"Set postpone_pictures=false."
                )
            drawer.update_scene(*view)
            drawer.render(out=picture)
        self.pending.clear()


def _moment(data: Any) -> NDArray[np.float64]:
    return np.concatenate([[data.time], data.qpos, data.mocap_pos.ravel()])
