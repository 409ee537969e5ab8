"""Pictures of a MuJoCo model, off screen: color, depth in m and segmentation, faithful or fast.

`faithful` draws what the model asks for. `fast` leaves out shadows, reflections and multisampling and draws meshes of
fewer triangles: on software OpenGL these take most of the time, and a policy does not need them. Used by every
simulator here that runs on MuJoCo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.mujoco_meshes import thinned

Render = Literal["fast", "faithful"]
ROUNDNESS = (16, 8, 4)  # slices and stacks of spheres and cylinders, quads of a box's side: fewer lose highlights
OUT_OF_SIGHT = (0.0, 0.0, -1e6)  # m
QUALITY = ("offsamples", "shadowsize", "numslices", "numstacks", "numquads")


@contextmanager
def light(model: Any, pixels: int) -> Iterator[None]:
    """While it lasts, renderers that are made of `model` for pictures of `pixels` draw fast. The model stays as it was.

    No multisampling, no shadow map, round shapes and meshes of fewer triangles. Reflections are a flag of the scene.
    """
    quality = model.vis.quality
    asked = {name: getattr(quality, name) for name in QUALITY}
    quality.offsamples = quality.shadowsize = 0
    quality.numslices, quality.numstacks, quality.numquads = ROUNDNESS
    try:
        with thinned(model, pixels):
            yield
    finally:
        for name, value in asked.items():
            setattr(quality, name, value)


@contextmanager
def _at_least(model: Any, height: int, width: int) -> Iterator[None]:
    """While it lasts, `model` allows pictures of this size off screen."""
    screen = model.vis.global_
    asked = screen.offheight, screen.offwidth
    screen.offheight, screen.offwidth = max(asked[0], height), max(asked[1], width)
    try:
        yield
    finally:
        screen.offheight, screen.offwidth = asked


class Camera:
    """Draws any camera of one model at one size. Owns an OpenGL context: close it. The model stays as it was.

    `model` may be exchanged for another one with the same meshes and textures (or none): one context serves them all.
    """

    def __init__(self, model: Any, height: int, width: int, *, render: Render = "fast") -> None:
        import mujoco

        self.model, self.height, self.width = model, height, width
        self.textures: object = None  # stands for the pixels that were uploaded last
        library: Any = mujoco
        self.library = library
        self.option: Any = library.MjvOption()
        try:
            with (
                _at_least(model, height, width),
                light(model, max(height, width)) if render == "fast" else nullcontext(),
            ):
                self.renderer: Any = library.Renderer(model, height, width)
        except library.FatalError as error:  # no OpenGL at all
            raise RuntimeError(str(error)) from None
        if render == "fast":
            self.renderer.scene.flags[library.mjtRndFlag.mjRND_SHADOW] = 0
            self.renderer.scene.flags[library.mjtRndFlag.mjRND_REFLECTION] = 0

    def rgb(self, data: Any, camera: str | int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        self._look(data, camera)
        return self.renderer.render()

    def depth(self, data: Any, camera: str | int) -> NDArray[np.float32]:
        """(H, W, 1) in m, along the viewing axis."""
        self.renderer.enable_depth_rendering()
        self._look(data, camera)
        self._hide_transparent()
        depth = self.renderer.render()[..., None].astype(np.float32)
        self.renderer.disable_depth_rendering()
        return depth

    def segmentation(self, data: Any, camera: str | int) -> NDArray[np.int32]:
        """(H, W, 1), the geom that is seen in each pixel; -1 where there is none."""
        self.renderer.enable_segmentation_rendering()
        self._look(data, camera)
        self._hide_transparent()
        pixels = self.renderer.render().astype(np.int32)  # (H, W, 2) index and kind
        self.renderer.disable_segmentation_rendering()
        return np.where(pixels[..., 1:] == int(self.library.mjtObj.mjOBJ_GEOM), pixels[..., :1], -1)

    def upload(self, model: Any, textures: Iterable[int]) -> None:
        """Draw with the pixels that these textures of `model` have now."""
        renderer = self.renderer
        if renderer._gl_context:
            renderer._gl_context.make_current()
        for texture in textures:
            self.library.mjr_uploadTexture(model, renderer._mjr_context, texture)

    def _look(self, data: Any, camera: str | int) -> None:
        fixed = self.library.MjvCamera()
        fixed.type = self.library.mjtCamera.mjCAMERA_FIXED
        fixed.fixedcamid = self.model.camera(camera).id
        everything = self.library.mjtCatBit.mjCAT_ALL
        scene = self.renderer.scene
        self.library.mjv_updateScene(self.model, data, self.option, None, fixed, everything, scene)

    def _hide_transparent(self) -> None:
        """Depth and segmentation are drawn in colors of their own, in which what is transparent would show."""
        scene = self.renderer.scene
        for geom in scene.geoms[: scene.ngeom]:
            if geom.rgba[3] <= 0:
                geom.pos[:] = OUT_OF_SIGHT

    def close(self) -> None:
        self.renderer.close()
