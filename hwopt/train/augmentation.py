"""Augmentation of batches that are on the device already: random mirroring and random crops."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def augmented(images: Tensor, flip: bool, crop: int, generator: torch.Generator) -> Tensor:
    """Return a batch of images, [n, c, h, w], mirrored left to right or moved at random, each on its own.

    Args:
        images: the batch; it stays as it is.
        flip: mirror each image with probability a half.
        crop: pixels of zeros added on every side before an image of the old size is cut out at random; 0
            leaves the images in their place.
        generator: on the CPU.
    """
    if flip:
        is_mirrored = torch.rand(len(images), generator=generator) < 0.5
        mirrored = is_mirrored.to(images.device)[:, None, None, None]
        images = torch.where(mirrored, images.flip(3), images)
    return _cropped(images, crop, generator) if crop else images


def _cropped(images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    n, n_channels, height, width = images.shape
    corner = torch.randint(2 * crop + 1, (2, n), generator=generator).to(images.device)  # top, left
    rows = corner[0, :, None] + torch.arange(height, device=images.device)  # [n, h]
    columns = corner[1, :, None] + torch.arange(width, device=images.device)  # [n, w]
    items = torch.arange(n, device=images.device)[:, None, None, None]
    channels = torch.arange(n_channels, device=images.device)[None, :, None, None]
    padded = pad(images, (crop, crop, crop, crop))
    return padded[items, channels, rows[:, None, :, None], columns[:, None, None, :]]
