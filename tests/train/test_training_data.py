import gzip
import math
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, FashionMNIST
from torchvision.datasets.mnist import read_image_file

from hwopt.errors import InvalidInput, UnknownName
from hwopt.train import DatasetSpec, load_dataset
from hwopt.train.idx import read_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx_bytes(values):
    values = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def write_idx(tmp_path):
    """Write a small data set into a folder; keywords replace the bytes of single files."""

    def write(folder=tmp_path, n_train=120, n_test=20, compress=True, **replaced):
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(3)
        for part, n in (("train", n_train), ("t10k", n_test)):
            contents = {
                "images-idx3-ubyte": idx_bytes(rng.integers(0, 256, (n, 28, 28))),
                "labels-idx1-ubyte": idx_bytes(np.arange(n) % 10),
            }
            for kind, content in contents.items():
                content = replaced.get(f"{part}_{kind[:6]}", content)
                name = f"{part}-{kind}" + (".gz" if compress else "")
                (folder / name).write_bytes(gzip.compress(content) if compress else content)
        return folder

    return write


def test_digits_are_divided_60_20_20_with_every_class_in_proportion():
    digits = load_dataset("digits")
    sizes = [len(split.labels) for split in (digits.train, digits.validation, digits.test)]
    assert sizes == [1078, 360, 359]
    for split in (digits.train, digits.validation, digits.test):
        counts = torch.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 5  # the whole set has 174 to 183 of each
        assert split.images.shape == (len(split.labels), 1, 8, 8)
        assert split.images.dtype == torch.float32 and split.labels.dtype == torch.int64


def test_the_train_split_has_mean_zero_and_deviation_one_and_the_others_are_on_its_scale():
    digits = load_dataset("digits")
    assert digits.train.images.mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train.images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert digits.validation.images.mean().item() != pytest.approx(0, abs=1e-5)


def test_chance_error_is_that_of_naming_the_largest_class_of_train():
    digits = load_dataset("digits")
    assert digits.chance_error == pytest.approx(1 - 109 / 1078)


def test_the_seed_draws_another_validation_set_and_never_another_test_set():
    first, same, other = (load_dataset("digits", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.validation.labels, same.validation.labels)
    assert not torch.equal(first.validation.labels, other.validation.labels)
    assert torch.equal(first.test.labels, other.test.labels)


def test_a_subset_keeps_every_class_and_leaves_validation_and_test_whole():
    digits = load_dataset("digits", subset=100)
    assert torch.bincount(digits.train.labels).tolist() == [10] * 10
    assert (len(digits.validation.labels), len(digits.test.labels)) == (360, 359)


@pytest.mark.parametrize(
    "arguments", [{"subset": 0}, {"subset": 2000}, {"subset": 5}, {"validation_share": 1.0}]
)
def test_an_impossible_share_or_subset_is_named_with_its_value(arguments):
    [(name, value)] = arguments.items()
    with pytest.raises(InvalidInput, match=f"{name} {value}"):
        load_dataset("digits", **arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"validation_share": 0.0001},
            "validation_share 0.0001 must lie between 0.007 and 0.993: both parts",
        ),
        ({"validation_share": 0.999}, "validation_share 0.999 must lie between 0.007 and 0.993"),
        ({"validation_share": "x"}, "validation_share 'x' must lie between"),
        ({"validation_share": math.nan}, "validation_share nan must lie between"),
        (
            {"subset": 1},
            "subset 1 must lie between 10, one image of each class, and 1068; leave it out for all",
        ),
        ({"subset": 1070}, "subset 1070 must lie between 10"),
        ({"subset": 50.5}, "subset 50.5 must lie between 10"),
        ({"seed": -1}, "data: seed = -1 must be a whole number from 0 to 4294967295"),
        ({"seed": "x"}, "data: seed = 'x' must be a whole number"),
    ],
)
def test_a_wrong_share_subset_or_seed_says_which_would_do(arguments, text):
    with pytest.raises(InvalidInput, match=text):
        load_dataset("digits", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_share": 0.007},
        {"validation_share": 0.993},
        {"subset": 10},
        {"subset": 1068},
        {"subset": 1078},
    ],
)
def test_the_shares_and_subsets_that_a_message_names_do(arguments):
    digits = load_dataset("digits", **arguments)
    assert len(digits.train.labels) >= 10 <= len(digits.validation.labels)


def test_an_unknown_data_set_is_an_error_with_the_nearest():
    with pytest.raises(UnknownName, match=r"no data set 'fashion-mnist'; did you mean fashion_mnist\?"):
        load_dataset("fashion-mnist")


@pytest.mark.parametrize("inner", ["", "FashionMNIST/raw", "fashion_mnist", "fashion-mnist"])
@pytest.mark.parametrize("compress", [True, False])
def test_files_are_found_plain_or_zipped_in_each_layout(tmp_path, write_idx, inner, compress):
    write_idx(tmp_path / inner, compress=compress)
    data = load_dataset("fashion_mnist", data_dir=tmp_path)
    assert data.input_shape == (1, 28, 28)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [100, 20, 20]


def test_nothing_is_written_into_a_read_only_folder(tmp_path, write_idx):
    folder = write_idx(tmp_path / "given")
    before = sorted(path.name for path in folder.iterdir())
    folder.chmod(0o555)
    load_dataset("fashion_mnist", data_dir=folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_environment_variable_names_the_folder_and_the_argument_comes_first(
    write_idx, tmp_path, monkeypatch
):
    monkeypatch.setenv("HWOPT_DATA_DIR", str(write_idx(tmp_path / "variable", n_train=60)))
    argument = write_idx(tmp_path / "argument", n_train=240)
    assert len(load_dataset("mnist").train.labels) == 50
    assert len(load_dataset("mnist", data_dir=argument).train.labels) == 200


def test_our_reader_agrees_with_torchvisions(tmp_path, write_idx):
    write_idx(compress=False)
    path = tmp_path / "train-images-idx3-ubyte"
    assert np.array_equal(read_idx(path, 3), read_image_file(str(path)).numpy())


DAMAGES = {
    "truncated: .*end-of-stream": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "damaged or not gzip: Not a gzipped file": lambda path: path.write_bytes(b"<html>moved</html>"),
    "damaged or not gzip: ": lambda path: path.write_bytes(
        path.read_bytes()[:20] + b"x" + path.read_bytes()[21:]
    ),
    "begins with 00000801, .* with 00000803": lambda path: path.write_bytes(gzip.compress(idx_bytes([1, 2]))),
    "truncated within its header": lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03\0\0")),
    "120 x 28 x 28 values announced, 94,070 there": lambda path: path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes())[:-10])
    ),
    r"images of \(2, 2\), fashion_mnist has": lambda path: path.write_bytes(
        gzip.compress(idx_bytes(np.zeros((120, 2, 2))))
    ),
    "train-images-idx3-ubyte is missing": Path.unlink,
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_file_is_named_with_what_is_wrong(write_idx, message):
    folder = write_idx()
    DAMAGES[message](folder / "train-images-idx3-ubyte.gz")
    with pytest.raises(InvalidInput, match=f"{folder}.*{message}"):
        load_dataset("fashion_mnist", data_dir=folder)


def test_labels_that_disagree_with_the_images_are_an_error(write_idx):
    with pytest.raises(InvalidInput, match="labels-idx1-ubyte.gz: 119 labels for 120 images"):
        load_dataset("mnist", data_dir=write_idx(train_labels=idx_bytes(np.arange(119) % 10)))
    with pytest.raises(InvalidInput, match="t10k-labels-idx1-ubyte.gz: label 11 out of range 0 to 9"):
        load_dataset("mnist", data_dir=write_idx(t10k_labels=idx_bytes([11] * 20)))


def test_a_class_with_a_single_image_cannot_be_divided(write_idx):
    labels = idx_bytes([*(np.arange(119) % 9), 9])
    with pytest.raises(InvalidInput, match="of 120 images cannot be drawn from every class"):
        load_dataset("mnist", data_dir=write_idx(train_labels=labels))


def test_fashion_mnist_is_not_taken_for_mnist_though_the_files_have_the_same_names(write_idx):
    labels = idx_bytes([9, 2, 1, 1, 6, 1, 4, 6, 5, 7, *range(10)])
    folder = write_idx(t10k_labels=labels)
    assert load_dataset("fashion_mnist", data_dir=folder).name == "fashion_mnist"
    with pytest.raises(InvalidInput, match="holds fashion_mnist, not mnist"):
        load_dataset("mnist", data_dir=folder)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InvalidInput, match="data_dir '.*absent' is not a folder"):
        load_dataset("mnist", data_dir=tmp_path / "absent")


def test_a_data_set_that_cannot_be_downloaded_says_what_was_looked_for_where_and_what_to_do(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        load_dataset("fashion_mnist", data_dir=tmp_path)
    message = str(caught.value)
    assert "looked for train-images-idx3-ubyte" in message and str(tmp_path) in message
    assert "no network in tests" in message and "\n" not in message
    assert "HWOPT_DATA_DIR" in message and "apt-get install dataset-fashion-mnist" in message


def test_switching_downloads_off_is_said_and_tries_nothing(monkeypatch):
    monkeypatch.setattr(FashionMNIST, "download", lambda self: pytest.fail("tried to download"))
    with pytest.raises(InvalidInput, match="downloading is switched off"):
        load_dataset("fashion_mnist", download=False)


def test_a_download_arrives_whole_in_the_cache_and_is_used_again(write_idx, monkeypatch):
    monkeypatch.setattr(
        FashionMNIST, "download", lambda self: write_idx(Path(self.raw_folder), compress=False)
    )
    first = load_dataset("fashion_mnist")
    monkeypatch.setattr(FashionMNIST, "download", lambda self: pytest.fail("downloaded again"))
    assert torch.equal(load_dataset("fashion_mnist").train.images, first.train.images)


def test_a_download_that_breaks_off_leaves_nothing_in_the_cache(write_idx, monkeypatch):
    def half(self):
        write_idx(Path(self.raw_folder), compress=False)
        raise OSError("connection lost")

    monkeypatch.setattr(FashionMNIST, "download", half)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="connection lost"):
            load_dataset("fashion_mnist")


def test_cifar10_is_read_from_its_batches_and_a_wrong_checksum_is_never_unpickled(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    for name in names:
        batch = {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    with pytest.raises(InvalidInput, match="data_batch_1: missing or damaged"):
        load_dataset("cifar10", data_dir=tmp_path)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, None] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[names[5], None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    data = load_dataset("cifar10", data_dir=tmp_path)
    assert data.train.images.shape == (80, 3, 32, 32) and data.test.images.shape == (20, 3, 32, 32)
    assert data.train.images.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_an_equal_spec_loads_the_images_once():
    assert DatasetSpec("digits", subset=50).load() is DatasetSpec("digits", subset=50).load()


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist():
    data = load_dataset("fashion_mnist", data_dir=DEBIAN, subset=1000)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [1000, 10_000, 10_000]
    assert torch.bincount(data.validation.labels).tolist() == [1000] * 10
    assert data.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
