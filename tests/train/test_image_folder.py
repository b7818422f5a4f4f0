"""A folder of images: its layouts, what becomes of an image, and what is refused."""

import re

import numpy as np
import pytest
from PIL import Image

from hwopt.errors import InvalidInput
from hwopt.train import DatasetSpec
from hwopt.train.image_folder import read_folder

RED, GREEN = (200, 0, 0), (0, 200, 0)


def save(path, size=(6, 4), colour=RED, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("green", GREEN), ("red", RED)):
        for number in range(5):
            save(tmp_path / name / f"{number}.png", colour=colour)
    return tmp_path


def test_classes_are_numbered_in_the_order_of_their_names(folder):
    (folder / ".hidden").mkdir()
    (folder / "red" / "notes.txt").write_text("no image")
    save(folder / "red" / "inner" / "deep.JPG")
    split = read_folder(folder)["train"]
    assert split.images.shape == (11, 3, 4, 6) and split.images.dtype == np.uint8
    assert split.labels.tolist() == [0] * 5 + [1] * 6
    assert split.images[0, :, 0, 0].tolist() == list(GREEN) and split.images[5, :, 0, 0].tolist() == list(RED)


def test_splits_in_folders_of_their_own_are_taken_as_they_are(tmp_path):
    for split, n in (("train", 4), ("val", 3), ("test", 2)):
        for name in ("a", "b"):
            for number in range(n):
                save(tmp_path / split / name / f"{number}.png")
    data = DatasetSpec("mine", source=str(tmp_path), input_shape=(3, 4, 4)).load()
    assert [len(one.labels) for one in (data.train, data.validation, data.test)] == [8, 6, 4]
    assert data.input_shape == (3, 4, 4)


def test_images_are_scaled_to_cover_the_input_and_cut_at_the_centre(tmp_path):
    picture = Image.new("RGB", (30, 10), GREEN)  # red, green, red from left to right
    picture.paste(RED, (0, 0, 10, 10))
    picture.paste(RED, (20, 0, 30, 10))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "1.png")
    centre = read_folder(tmp_path, (3, 5, 5))["train"].images[0]
    assert centre.shape == (3, 5, 5) and (centre[1, :, 1:-1] == 200).all() and (centre[0, :, 1:-1] == 0).all()


def test_images_have_the_channels_of_the_input_whatever_their_mode(folder):
    for mode, colour in (("L", 90), ("P", 3), ("RGBA", (*RED, 255)), ("1", 1), ("CMYK", (0, 0, 0, 0))):
        ending = "tif" if mode == "CMYK" else "png"
        save(folder / "red" / f"mode_{mode}.{ending}", mode=mode, colour=colour)
    assert read_folder(folder, (1, 4, 4))["train"].images.shape == (15, 1, 4, 4)
    assert read_folder(folder, (3, 4, 4))["train"].images.shape == (15, 3, 4, 4)


def test_a_picture_that_was_taken_upright_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 2)).save(tmp_path / name / "1.jpg", exif=exif)
    picture = Image.new("RGB", (8, 2), GREEN)
    picture.paste(RED, (0, 0, 4, 2))  # the left half: after the turn the upper one
    picture.save(tmp_path / "a" / "1.jpg", exif=exif, quality=95)
    upper = read_folder(tmp_path, (3, 8, 2))["train"].images[0][:, 1, 1]
    assert upper[0] > 150 and upper[1] < 60


@pytest.mark.parametrize(
    ("change", "shape", "text"),
    [
        (
            lambda f: (f / "red" / "9.png").write_bytes(b"no image"),
            None,
            "red/9.png cannot be read as an image",
        ),
        (lambda f: cut(f / "red" / "3.png"), None, "red/3.png cannot be read as an image"),
        (
            lambda f: save(f / "red" / "deep.png", mode="I;16", colour=9),
            None,
            "has the mode I;16, more than 8",
        ),
        (lambda f: (f / "empty").mkdir(), None, "empty holds no image"),
        (lambda f: save(f / "train" / "a" / "1.png"), None, "has train/ beside green/"),
        (lambda f: None, (4, 8, 8), "takes inputs of shape (4, 8, 8); a folder of images gives (1, height"),
        (lambda f: None, (3, 80), "takes inputs of shape (3, 80); a folder of images"),
        (lambda f: None, (3, 1_000_000, 1_000_000), "10 images of 3x1000000x1000000 take"),
    ],
    ids=["no image", "cut short", "16 bits", "no images", "beside train", "channels", "sides", "memory"],
)
def test_what_is_no_folder_of_images_is_refused(folder, change, shape, text):
    change(folder)
    with pytest.raises(InvalidInput, match=re.escape(text)):
        read_folder(folder, shape)


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def test_a_folder_with_a_single_class_is_refused(tmp_path):
    save(tmp_path / "only" / "1.png")
    with pytest.raises(InvalidInput, match="has 1 folders, and two are needed at least"):
        read_folder(tmp_path)
    with pytest.raises(InvalidInput, match="has 0 folders"):
        read_folder(tmp_path / "only")


def test_a_test_split_with_a_class_that_train_has_not_is_refused(tmp_path):
    for place in ("train/a", "train/b", "test/a", "test/c"):
        save(tmp_path / place / "1.png")
    with pytest.raises(InvalidInput, match="the train split has no class 'c'; it has a, b"):
        read_folder(tmp_path)


def test_two_validation_folders_are_refused(tmp_path):
    for place in ("train/a", "train/b", "val/a", "validation/a"):
        save(tmp_path / place / "1.png")
    with pytest.raises(InvalidInput, match="has val/ and validation/; keep one of them"):
        read_folder(tmp_path)
