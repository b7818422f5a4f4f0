"""Networks with auxiliary classifiers: which outputs count, and how their losses are weighed."""

from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hwopt.errors import InvalidInput, TrainingFailed
from hwopt.train import Dataset, Split, Training, TrainingSettings, seeded, train
from hwopt.train.network_outputs import main_and_auxiliary, main_logits

MAIN, FIRST, SECOND = (torch.full((2, 3), float(k)) for k in range(3))
Named = namedtuple("Named", ["aux", "logits"])


@pytest.mark.parametrize(
    ("out", "n_auxiliary"),
    [
        (MAIN, 0),
        ((MAIN,), 0),
        ([MAIN, FIRST, SECOND], 2),
        ((MAIN, None), 0),
        (Named(FIRST, MAIN), 1),
        (Named(None, MAIN), 0),
        ({"aux": FIRST, "out": MAIN}, 1),
        ({"first": MAIN, "second": FIRST}, 1),
    ],
)
def test_the_main_logits_are_called_so_or_come_first(out, n_auxiliary):
    main, auxiliary = main_and_auxiliary(out)
    assert main is MAIN and main_logits(out) is MAIN
    assert len(auxiliary) == n_auxiliary


@pytest.mark.parametrize(
    ("out", "text"),
    [
        (None, "the network returned None; wanted logits"),
        ((), r"the network returned \(\); wanted logits"),
        ("logits", "the network returned a str as its output"),
        ((MAIN, "x"), "the network returned a str as 1"),
        ((MAIN, torch.zeros(2, 4)), r"output 1 of the network has shape \(2, 4\), output 0 \(2, 3\)"),
        ({"logits": MAIN, "features": torch.zeros(2, 8, 4)}, r"output features of the network has shape"),
    ],
)
def test_what_is_no_logits_is_refused(out, text):
    with pytest.raises(InvalidInput, match=text):
        main_and_auxiliary(out)


class Deep(nn.Module):
    """A network with an auxiliary classifier that it returns in training alone."""

    def __init__(self, is_named=False):
        super().__init__()
        self.body, self.aux, self.head = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.is_named = is_named

    def forward(self, x):
        x = torch.relu(self.body(x))
        if not self.training:
            return self.head(x)
        return Named(self.aux(x), self.head(x)) if self.is_named else (self.head(x), self.aux(x))


@pytest.fixture(scope="module")
def dataset():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(40, 5, generator=generator), torch.arange(40) % 3
    images[:, 0] += 2 * labels
    split = Split(images, labels)
    return Dataset("rows", 3, (5,), 2 / 3, split, split, split)


SETTINGS = TrainingSettings(epochs=1, batch_size=40, schedule="constant", weight_decay=0.0, momentum=0.0)


def built(**options):
    with seeded(3):
        return Deep(**options)


@pytest.mark.parametrize("is_named", [False, True])
def test_a_step_goes_down_the_main_loss_and_the_weighted_auxiliary_one(dataset, is_named):
    by_hand = built()
    x, y = dataset.train
    main, auxiliary = by_hand(x)
    (cross_entropy(main, y) + 0.7 * cross_entropy(auxiliary, y)).backward()
    network = built(is_named=is_named)
    train(network, dataset, replace(SETTINGS, auxiliary_weight=0.7, learning_rate=0.1), seed=0)
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(ours, theirs - 0.1 * theirs.grad, atol=1e-6)


def test_an_auxiliary_classifier_of_weight_zero_is_not_trained(dataset):
    network = built()
    before = network.aux.weight.clone()
    train(network, dataset, replace(SETTINGS, auxiliary_weight=0.0), seed=0)
    assert torch.equal(network.aux.weight, before)


def test_torchvisions_inception_trains_as_it_comes():
    from torchvision.models.inception import InceptionOutputs

    class Small(Deep):
        def forward(self, x):
            out = super().forward(x)
            return InceptionOutputs(*out) if self.training else out

    images, labels = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
    split = Split(images, labels)
    result = train(Small(), Dataset("d", 3, (5,), 0.6, split, split, split), SETTINGS, seed=0)
    assert 0 <= result.error <= 1 and result.metrics["worst_class_error"] >= result.error


def test_an_auxiliary_output_of_another_shape_fails_the_training_with_the_reason(dataset):
    network = Deep()
    network.aux = nn.Linear(4, 7)
    with pytest.raises(
        TrainingFailed, match=r"^output 1 of the network has shape \(40, 7\), output 0 \(40, 3\)"
    ):
        Training(network, dataset, SETTINGS, 0).run_epoch()
