"""A teacher's own view of a face: the crop it was trained on, cut out of the student's chip.

A chip is wider than any teacher's crop, and in training it is moved and turned at random, so a teacher must not be fed
the chip itself. From the five points in chip pixels follows the similarity to the teacher's frame, and the chip is
resampled once. Pixel centres have whole coordinates, as in OpenCV and insightface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from dtda.core.preprocess import TEMPLATE, TEMPLATE_SIDE

CELEBA_SIDE = 178.0


@dataclass(frozen=True, slots=True)
class Frame:
    """size: side in pixels. anchors: float32 [K, 5], each a mean of the five points. template: float32 [K, 2], where the
    anchors lie in the frame, pixels."""

    size: int
    anchors: Tensor
    template: Tensor


def arcface_frame(size: int = 112, margin: float = 1.0) -> Frame:
    """insightface's five-point frame (`preprocess.TEMPLATE`, 112 px), with `margin` times its context around it."""
    template = (torch.from_numpy(TEMPLATE) + (margin - 1) * TEMPLATE_SIDE / 2) * (size / (TEMPLATE_SIDE * margin))
    return Frame(size, torch.eye(5), template)


def celeba_frame(size: int = 128) -> Frame:
    """The frame of CelebA's `img_align_celeba`, centre-cropped to 178 px and resized, as StarGAN is fed (Choi et al. 2018).

    CelebA's authors fit a similarity from both eyes and the middle of the mouth corners to (70.745, 112), (108.237, 112)
    and (89.432, 153.514) in a picture of 178x218 whose first pixel is (1, 1) (their `align_face_celeba.m`). So: minus 1
    for pixels counted from 0; minus 20 rows for the centre crop; then (x + 1/2) size / 178 - 1/2 for the resizing.
    """
    anchors = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0.5, 0.5]])
    published = torch.tensor([[70.745, 112.0], [108.237, 112.0], [89.432, 153.514]])
    cropped = published - 1 - torch.tensor([0.0, 20.0])
    return Frame(size, anchors, (cropped + 0.5) * (size / CELEBA_SIDE) - 0.5)


def similarity(points: Tensor, frame: Frame) -> Tensor:
    """Least-squares similarity without reflection from picture to frame pixels, as `preprocess.similarity`.

    points: float [B, 5, 2], not all in one place. Returns float [B, 2, 3].
    """
    source = frame.anchors.to(points) @ points
    target = frame.template.to(points)
    source_mean, target_mean = source.mean(1, keepdim=True), target.mean(0)
    s, t = source - source_mean, target - target_mean
    spread = s.square().sum((1, 2))
    real = (s * t).sum((1, 2)) / spread
    imaginary = (s[..., 0] * t[:, 1] - s[..., 1] * t[:, 0]).sum(1) / spread
    linear = torch.stack([real, -imaginary, imaginary, real], 1).view(-1, 2, 2)
    shift = target_mean[:, None] - linear @ source_mean.transpose(1, 2)
    return torch.cat([linear, shift], 2)


def cut(x: Tensor, points: Tensor, frame: Frame, fineness: int = 1, squeeze: float = 1.0) -> Tensor:
    """Resample pictures into a frame, bilinear, beyond the border the border's pixels.

    x: float [B, C, H, W]. points: float [B, 5, 2] pixels of x. fineness: samples per frame pixel and axis, averaged;
    needed where the frame is coarser than the picture. squeeze: how much of a face a pixel's height shows, over its width.
    Returns float [B, C, size, size].
    """
    shape = torch.tensor([1.0, squeeze]).to(x)
    matrix = similarity(points.to(x) * shape, frame)
    height, width = x.shape[2:]
    place = (torch.arange(frame.size * fineness, device=x.device, dtype=x.dtype) + 0.5) / fineness - 0.5
    target = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).view(1, -1, 2)
    # The inverse of a similarity is its transpose over its squared scale.
    scale = matrix[:, 0, 0].square() + matrix[:, 1, 0].square()
    source = (target - matrix[:, :, 2].unsqueeze(1)) @ matrix[:, :, :2] / scale.view(-1, 1, 1)
    grid = source / shape * (2 / torch.tensor([width - 1, height - 1]).to(x)) - 1
    grid = grid.view(-1, len(place), len(place), 2)
    found = grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return avg_pool2d(found, fineness) if fineness > 1 else found
