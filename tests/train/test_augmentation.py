"""Augmentation: what becomes of an image."""

import torch

from hwopt.train.augmentation import augmented


def images(n=64):
    return torch.arange(n * 2 * 4 * 5, dtype=torch.float32).reshape(n, 2, 4, 5) + 1


def generator():
    return torch.Generator().manual_seed(0)


def test_about_half_of_the_images_are_mirrored_and_the_others_left():
    before = images()
    after = augmented(before, True, 0, generator())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(after, before, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True)) and 20 < sum(mirrored) < 44
    assert torch.equal(before, images())


def test_a_crop_is_the_image_moved_by_a_few_pixels_with_zeros_where_nothing_was():
    before = images()
    after = augmented(before, False, 1, generator())
    padded = torch.nn.functional.pad(before, (1, 1, 1, 1))
    corners = set()
    for one, wide in zip(after, padded, strict=True):
        found = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if torch.equal(one, wide[:, top : top + 4, left : left + 5])
        ]
        assert len(found) == 1
        corners.update(found)
    assert len(corners) == 9


def test_the_same_generator_gives_the_same_images():
    first, second = (augmented(images(), True, 2, generator()) for _ in range(2))
    assert torch.equal(first, second)
