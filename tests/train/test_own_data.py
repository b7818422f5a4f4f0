"""A user's own data: what a function may return, which splits are drawn, and what is refused."""

import os
import random
import re
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

from hwopt.errors import HwoptError
from hwopt.train import DatasetSpec

HEAD = """
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

def data(n=60, n_classes=3, shape=(1, 4, 4), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *shape)).astype(np.float32), np.arange(n) % n_classes

images, labels = data()
"""


@pytest.fixture
def load(tmp_path):
    """Load what a function of a file returns, given its body."""

    names = (f"my_data{number}" for number in count())

    def loaded(body, head=HEAD, **settings):
        path = tmp_path / f"{next(names)}.py"
        path.write_text(f"{head}\ndef load():\n    " + body.replace("\n", "\n    ") + "\n")
        return DatasetSpec("mine", source=f"{path}:load", **settings).load()

    return loaded


def sizes(dataset):
    return [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)]


def test_of_one_split_test_and_validation_are_drawn_stratified(load):
    data = load("return images, labels")
    assert sizes(data) == [38, 10, 12]  # a fifth, then a fifth of the rest
    assert (data.n_classes, data.input_shape, data.name) == (3, (1, 4, 4), "mine")
    counts = torch.bincount(data.test.labels)
    assert counts.tolist() == [4, 4, 4] and data.train.labels.dtype == torch.int64
    assert sizes(load("return images, labels", validation_share=0.5, subset=6)) == [6, 24, 12]


def test_two_splits_are_train_and_test_and_three_have_their_own_validation(load):
    assert sizes(load("return data(50), data(9)")) == [40, 10, 9]
    assert sizes(load("return data(50), data(12), data(9)")) == [50, 12, 9]
    assert sizes(load("return {'train': data(50), 'validation': data(12), 'test': None}")) == [40, 12, 10]


@pytest.mark.parametrize(
    "split",
    [
        "torch.tensor(images), torch.tensor(labels)",
        "torch.tensor(images, dtype=torch.bfloat16).double(), labels.tolist()",
        "TensorDataset(torch.tensor(images), torch.tensor(labels))",
        "Subset(TensorDataset(torch.tensor(images), torch.tensor(labels)), range(60))",
        "images.astype(float), labels.astype(float)",
    ],
)
def test_tensors_arrays_and_data_sets_are_taken_alike(load, split):
    data, wanted = load(f"return {split}"), load("return images, labels")
    assert torch.allclose(data.train.images, wanted.train.images, atol=0.02)
    assert torch.equal(data.train.labels, wanted.train.labels)


def test_images_of_pil_have_their_channels_first(load):
    body = "\n".join(
        [
            "from PIL import Image",
            "pixels = np.arange(60 * 2 * 3 * 3, dtype=np.uint8).reshape(60, 2, 3, 3)",
            "class Images(Dataset):",
            "    def __len__(self): return 60",
            "    def __getitem__(self, i): return Image.fromarray(pixels[i]), i % 2",
            "return Images()",
        ]
    )
    data = load(body, normalise=False)
    assert data.input_shape == (3, 2, 3) and data.train.images.max() == 255


def test_values_are_normalised_by_channel_unless_they_are_not_to_be(load):
    scaled = load("return images * [[[[3.0]]], [[[5.0]]]][1] + 7, labels")
    assert scaled.train.images.mean().item() == pytest.approx(0, abs=1e-5)
    assert scaled.train.images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    kept = load("return images, labels", normalise=False)
    assert torch.isin(kept.test.images, torch.tensor(np.random.default_rng(0).normal(size=960)).float()).all()


def test_rows_and_sequences_are_normalised_by_their_second_axis(load):
    rows = load("return data(60, 3, (5,)) [0] * [1, 2, 3, 4, 5], labels")
    assert rows.input_shape == (5,)
    assert torch.allclose(rows.train.images.mean(0), torch.zeros(5), atol=1e-5)
    series = load("return data(60, 3, (2, 7))[0], labels")
    assert series.input_shape == (2, 7)
    assert torch.allclose(series.train.images.std((0, 2), correction=0), torch.ones(2), atol=1e-5)


def test_what_a_function_draws_at_random_is_the_same_each_time_and_leaves_no_trace(load):
    body = "return torch.rand(30, 1, 2, 2) + random.random() + np.random.rand(), torch.arange(30) % 2"
    random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), torch.get_rng_state()
    first = load(body)
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert load(body + "\n").digest == first.digest


def test_a_changed_file_is_loaded_anew(tmp_path):
    path = tmp_path / "mine.py"
    for n, written in ((30, 1), (40, 2)):
        path.write_text(
            f"import torch\ndef load(): return torch.zeros({n}, 1, 2, 2), torch.arange({n}) % 2\n"
        )
        os.utime(path, (written, written))
        spec = DatasetSpec("mine", source=f"{path}:load")
        assert sum(sizes(spec.load())) == n and spec.load() is spec.load()


def test_the_digest_is_of_the_content_and_not_of_the_code(load):
    digest = load("return images, labels").digest
    assert load("# a comment\nreturn images.copy(), labels", subset=9).digest == digest
    assert load("images[3] += 1e-3\nreturn images, labels").digest != digest
    assert load("labels[3] = labels[4]\nreturn images, labels").digest != digest
    assert load("return (images, labels), (images, labels)").digest != digest


def test_a_path_that_a_function_returns_is_a_folder_of_images_beside_its_file(load, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "pictures" / name / f"{number}.png")
    assert load("return 'pictures'").input_shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return None", "load() returned None; return (images, labels), a torch Dataset"),
        ("return images", "returned one ndarray of shape (60, 1, 4, 4), without labels"),
        ("return images, labels, images, labels", "put each split into a pair: (images, labels)"),
        ("return DataLoader(TensorDataset(torch.tensor(images)))", "of a DataLoader return its .dataset"),
        ("return (pair for pair in zip(images, labels))", "a length and items, cannot be shuffled"),
        ("return {'train': data(), 'tset': data()}", "the split 'tset'; did you mean test?"),
        ("return {'test': data()}", "no train split, only test"),
        ("return {'train': images}", "load(): train is one ndarray of shape"),
        ("raise OSError('no such disk')", "load() raised OSError: no such disk (line 14)"),
        ("return images[:50], labels", "train has 50 images and 60 labels; wanted one label an image"),
        ("return images[:0], labels[:0]", "train is empty: its images have shape (0, 1, 4, 4)"),
        ("return data(), data(0)", "load(): test is empty"),
        ("return Subset(TensorDataset(torch.tensor(images)), [])", "train is empty"),
        ("return labels, labels", "images have shape (60,); wanted [n, ...]"),
        ("return images.astype(str), labels", "images are of type <U32; wanted numbers"),
        ("return images + 1j, labels", "images are of type complex64; wanted numbers"),
        ("images[7, 0, 1, 1] = np.nan\nreturn images, labels", "1 of 60 images have values that are not"),
        ("return np.where(images > 3, np.inf, images), labels", "not finite (NaN or infinite); the first is"),
        ("return images.astype(float) * 1e300, labels", "60 of 60 images have values that are not finite"),
        ("return images, labels[:, None]", "labels have shape (60, 1); wanted one whole number an image"),
        ("return images, np.eye(3)[labels]", "labels have shape (60, 3)", ),
        ("return images, labels + 0.5", "labels are not whole numbers"),
        ("return images, np.where(labels, labels, np.nan)", "labels are not whole numbers"),
        ("return images, labels.astype(str)", "labels are of type <U21; number the classes 0, 1, 2"),
        ("return images, ['a', 'b'] * 30", "labels are of type <U1; number the classes"),
        ("return images, labels - 1", "labels of train begin at -1; number the classes 0, 1, 2"),
        ("return images, labels + 1", "no image of train has the label 0, and the labels go to 3"),
        ("return images, labels * 2", "no image of train has the label 1, and the labels go to 4"),
        ("return images, labels * 10**9", "no image of train has the label 1"),
        ("return images, labels * 0", "all labels of train are 0; wanted two classes at least"),
        ("return data(), data(60, 4)", "labels of test go from 0 to 3, those of train from 0 to 2"),
        ("return data(), data(60, 3, (1, 4, 5))", "images of test have shape (1, 4, 5), those of"),
        ("return Subset(images, range(60))", "item 0 is one ndarray of shape (1, 4, 4), with"),
        ("return Subset(TensorDataset(torch.tensor(images), torch.tensor(labels)), [1, 99])", "item 1 rai"),
        ("return data(6)", "cannot be drawn from every class"),
        ("return torch.eye(60).to_sparse(), labels", "images cannot be an array"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_are_refused_with_what_to_do(load, body, text):
    with pytest.raises(HwoptError) as caught:
        load(body)
    assert text in str(caught.value)


def test_items_of_different_sizes_are_refused_with_their_place(load):
    body = "\n".join(
        [
            "class Ragged(Dataset):",
            "    def __len__(self): return 9",
            "    def __getitem__(self, i): return torch.zeros(1, 4 + (i == 5), 4), i % 2",
            "return Ragged()",
        ]
    )
    with pytest.raises(
        HwoptError, match=re.escape("item 5 has shape (1, 5, 4), the first (1, 4, 4); bring all")
    ):
        load(body)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("none.py:load", "no Python file"),
        ("there.py", "names no function; write"),
        ("there.py:laod", "defines no laod; did you mean load?"),
        ("there.py:number", "number is 5; it must be a function"),
        ("there.py:greedy", "greedy() is called without arguments: missing a required argument: 'path'"),
        ("none", "is not a folder of images, nor FILE.py:FUNCTION"),
        ("there.py:leaves", "leaves() raised SystemExit"),
    ],
)
def test_a_source_that_is_not_there_is_refused(tmp_path, source, text):
    code = "def load(): pass\nnumber = 5\ndef greedy(path): pass\ndef leaves(): raise SystemExit(3)\n"
    (tmp_path / "there.py").write_text(code)
    with pytest.raises(HwoptError) as caught:
        DatasetSpec("mine", source=str(tmp_path / source)).load()
    assert text in str(caught.value)


def test_a_share_beside_a_given_validation_split_is_refused(load):
    with pytest.raises(HwoptError, match="gives a validation split already; leave it out"):
        load("return data(), data(9), data(9)", validation_share=0.3)
