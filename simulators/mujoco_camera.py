"""Pictures of a MuJoCo model, off screen: color, depth in m and segmentation, faithful or fast.

`faithful` draws what the model asks for. `fast` leaves out shadows, reflections and multisampling, which on software
OpenGL take most of the time and which a policy does not need. Used by every simulator here that runs on MuJoCo.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Render = Literal["fast", "faithful"]


def lighten(model: Any) -> None:
    """Ask for buffers without multisampling and without a shadow map; before a renderer is made."""
    model.vis.quality.offsamples = 0
    model.vis.quality.shadowsize = 0


class Camera:
    """Draws any camera of one model at one size. Owns an OpenGL context: close it."""

    def __init__(self, model: Any, height: int, width: int, *, render: Render = "fast") -> None:
        import mujoco

        self.model, self.height, self.width = model, height, width
        if render == "fast":
            lighten(model)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        self.option: Any = mujoco.MjvOption()
        self.renderer: Any = mujoco.Renderer(model, height, width)
        if render == "fast":
            self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def rgb(self, data: Any, camera: str | int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        self.renderer.update_scene(data, camera, self.option)
        return self.renderer.render()

    def depth(self, data: Any, camera: str | int) -> NDArray[np.float32]:
        """(H, W, 1) in m, along the viewing axis."""
        self.renderer.enable_depth_rendering()
        self.renderer.update_scene(data, camera, self.option)
        depth = self.renderer.render()[..., None].astype(np.float32)
        self.renderer.disable_depth_rendering()
        return depth

    def segmentation(self, data: Any, camera: str | int) -> NDArray[np.int32]:
        """(H, W, 1), the geom that is seen in each pixel; -1 where there is none."""
        self.renderer.enable_segmentation_rendering()
        self.renderer.update_scene(data, camera, self.option)
        pixels = self.renderer.render()[..., :1].astype(np.int32)
        self.renderer.disable_segmentation_rendering()
        return pixels

    def close(self) -> None:
        self.renderer.close()
