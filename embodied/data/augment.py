"""Pictures (B, H, W, C) as they might also have been: for learning only, never for acting.

A shift repeats the pixels at the edge (DrQ, Kostrikov et al. 2021), so pictures keep their size and a policy meets them
whole when it acts; random crops would need a center crop there, and forgetting it costs success.
"""

from __future__ import annotations

import torch
from torch import Tensor


def offsets(count: int, pixels: int, generator: torch.Generator) -> Tensor:
    """(count, 2) by how many pixels, at most `pixels`, pictures are moved along both axes."""
    return torch.randint(-pixels, pixels + 1, (count, 2), generator=generator)


def shifted(pictures: Tensor, offset: Tensor) -> Tensor:
    """Each picture moved by its row of `offset` (B, 2); on the host."""
    if not offset.any():
        return pictures
    count, height, width = pictures.shape[:3]
    rows = (torch.arange(height) + offset[:, :1]).clamp(0, height - 1)  # (B, H) where each row is taken from
    columns = (torch.arange(width) + offset[:, 1:]).clamp(0, width - 1)  # (B, W)
    moved = torch.empty_like(pictures)
    for index in range(count):  # a third of the time of one gather over all pixels
        torch.index_select(pictures[index].index_select(0, rows[index]), 1, columns[index], out=moved[index])
    return moved


def jittered(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Each picture with a contrast of 1 and a brightness of 0 changed by normal numbers, `strength` of the range."""
    if strength == 0:
        return pictures
    contrast, brightness = torch.randn((2, len(pictures), 1, 1, 1), generator=generator) * strength  # each (B, 1, 1, 1)
    return pictures.float().mul_(1 + contrast).add_(255 * brightness).clamp_(0, 255).to(torch.uint8)
