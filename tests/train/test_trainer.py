import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput, TrainingFailed, UnknownName
from hwopt.train import Dataset, Split, TrainingSettings, error_of, load_dataset, seeded, train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", subset=300)


def small_network(seed=0):
    with seeded(seed):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(72, 10)
        )


def settings(**changes):
    return TrainingSettings(**{"epochs": 3, "batch_size": 32, "device": "cpu", "threads": 1, **changes})


class Broken(nn.Module):
    """A network whose forward calls `fault` at a given call."""

    def __init__(self, fault, at_call=1):
        super().__init__()
        self.inner, self.fault, self.at_call, self.n_calls = nn.Linear(64, 10), fault, at_call, 0

    def forward(self, x):
        self.n_calls += 1
        logits = self.inner(x.flatten(1))
        return self.fault(logits) if self.n_calls >= self.at_call else logits


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle", "step"])
def test_a_small_network_learns_the_digits(digits, optimizer, schedule):
    rate = 0.05 if optimizer == "sgd" else 0.01
    chosen = settings(
        epochs=8, optimizer=optimizer, schedule=schedule, learning_rate=rate, label_smoothing=0.05
    )
    result = train(small_network(), digits, chosen, seed=0)
    assert result.error < 0.15 and result.metrics["test_error"] < 0.15
    assert len(result.errors) == len(result.seconds) == result.n_epochs == 8
    assert result.error == result.errors[-1] and result.status == "complete"


def test_the_error_is_the_share_of_wrong_answers_on_the_validation_split(digits):
    network = small_network()
    result = train(network, digits, settings(), seed=0)
    with torch.no_grad():
        answers = network.eval()(digits.validation.images).argmax(1)
    n_wrong = sum(a != b for a, b in zip(answers.tolist(), digits.validation.labels.tolist(), strict=True))
    assert result.error == n_wrong / 360


def test_one_epoch_is_the_loop_that_one_writes_by_hand(digits):
    chosen = settings(epochs=1, schedule="constant", batch_size=100, channels_last=False)
    ours, by_hand = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), nn.Linear(64, 10)
    by_hand.load_state_dict(ours[1].state_dict())
    train(ours, digits, chosen, seed=5)
    images, labels = digits.train
    velocity = [torch.zeros_like(p) for p in by_hand.parameters()]
    for rows in torch.randperm(300, generator=torch.Generator().manual_seed(5)).split(100):
        loss = nn.functional.cross_entropy(by_hand(images[rows].flatten(1)), labels[rows])
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for v, p, g in zip(velocity, by_hand.parameters(), gradients, strict=True):
                v.mul_(0.9).add_(g + 1e-4 * p)
                p.sub_(0.05 * v)
    assert torch.allclose(ours[1].weight, by_hand.weight, atol=1e-6)


def test_the_same_seed_gives_the_same_result_and_another_seed_another(digits):
    first, same, other = (train(small_network(), digits, settings(), seed) for seed in (1, 1, 2))
    assert (first.errors, first.metrics["test_error"]) == (same.errors, same.metrics["test_error"])
    assert first.errors != other.errors


def test_first_weights_and_dropout_come_from_the_seed_and_not_from_the_state_before(digits):
    results = []
    for _ in range(2):
        torch.rand(3)  # moves the global state on
        network = small_network(seed=4)
        results.append((network[0].weight.sum().item(), train(network, digits, settings(), seed=4).errors))
    assert results[0] == results[1]
    assert small_network(seed=4)[0].weight.sum() != small_network(seed=5)[0].weight.sum()


def test_the_random_state_and_the_threads_of_the_caller_are_as_before(digits):
    before, n_threads = torch.get_rng_state(), torch.get_num_threads()
    train(small_network(), digits, settings(threads=n_threads + 1), seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == n_threads


def test_report_hears_every_epoch_from_one_and_false_ends_the_training(digits):
    heard = []

    def report(epoch, error):
        heard.append((epoch, error))
        return epoch < 2

    result = train(small_network(), digits, settings(epochs=5), seed=0, report=report)
    assert result.status == "stopped" and result.n_epochs == 2
    assert heard == list(enumerate(result.errors, start=1))


def test_a_report_may_evaluate_another_split_without_changing_the_training(digits):
    network, test_errors = small_network(), []
    result = train(
        network, digits, settings(), 0, lambda *_: test_errors.append(error_of(network, digits.test))
    )
    alone = train(small_network(), digits, settings(), 0)
    assert (
        result.errors == alone.errors
        and result.metrics["test_error"] == alone.metrics["test_error"] == test_errors[-1]
    )
    assert len(set(test_errors)) > 1


def test_a_report_that_returns_nothing_goes_on(digits):
    assert train(small_network(), digits, settings(epochs=2), 0, lambda epoch, error: None).n_epochs == 2


def test_what_report_raises_passes_through(digits):
    def report(epoch, error):
        raise RuntimeError("the store is gone")

    with pytest.raises(RuntimeError, match="^the store is gone$"):
        train(small_network(), digits, settings(), seed=0, report=report)


def test_a_loss_that_becomes_nan_names_epoch_and_step(digits):
    network = Broken(
        lambda logits: logits * float("nan"), at_call=10 + 1 + 4
    )  # 10 steps, 1 validation, 4 steps
    with pytest.raises(TrainingFailed, match="diverged: loss nan at epoch 2, step 4"):
        train(network, digits, settings(epochs=3), seed=0)


def test_a_learning_rate_far_too_high_diverges(digits):
    with pytest.raises(TrainingFailed, match=r"diverged: loss [0-9.e+]+|inf|nan at epoch 1, step"):
        train(small_network(), digits, settings(learning_rate=1e6), seed=0)


def test_outputs_that_are_not_finite_after_the_last_step_are_a_failure_not_an_error_rate(digits):
    network = Broken(lambda logits: logits * float("inf"), at_call=10 + 1)
    with pytest.raises(TrainingFailed, match="outputs are not finite"):
        train(network, digits, settings(epochs=1), seed=0)


@pytest.mark.parametrize("fault", [lambda x: torch.empty(10**15), lambda x: raise_memory_error()])
def test_running_out_of_memory_is_named(digits, fault):
    with pytest.raises(TrainingFailed, match="^out of memory: "):
        train(Broken(fault), digits, settings(), seed=0)


def raise_memory_error():
    raise MemoryError("no memory left")


def test_what_the_network_raises_is_named_with_its_type(digits):
    wrong_size = nn.Sequential(nn.Flatten(), nn.Linear(63, 10))
    with pytest.raises(TrainingFailed, match="the network raised RuntimeError: .*mat1 and mat2 shapes"):
        train(wrong_size, digits, settings(), seed=0)


def test_a_network_that_flattens_with_view_is_trained_in_the_usual_layout(digits):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

        def forward(self, x):
            return self.linear(self.conv(x).view(len(x), -1))

    network = Viewing()
    assert train(network, digits, settings(), seed=0).n_epochs == 3
    with pytest.raises(TrainingFailed, match="view"):
        train(network, digits, settings(channels_last=True), seed=0)


def test_channels_last_changes_the_layout_and_not_the_result(digits):
    curves = [
        train(small_network(), digits, settings(channels_last=wanted), seed=0).errors
        for wanted in (True, False)
    ]
    assert curves[0] == pytest.approx(curves[1], abs=0.02)


def test_a_last_batch_of_one_image_does_not_reach_batch_normalisation(digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    assert train(network, digits, settings(batch_size=299), seed=0).n_epochs == 3


def test_a_data_set_made_by_hand_is_trained_on():
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 2)
    data = Dataset("mine", 2, (1, 8, 8), 0.5, split, split, split)
    result = train(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), data, settings(epochs=30), seed=0)
    assert result.error == result.metrics["test_error"] == 0


def test_hyperparameters_of_the_configuration_override_the_settings_by_their_names():
    config = {"learning_rate": 0.5, "train_batch_size": 7, "optimizer": "adam", "features1": 3, "epochs": 99}
    changed = settings().with_config(config)
    assert (changed.learning_rate, changed.batch_size, changed.optimizer) == (0.5, 7, "adam")
    assert (changed.epochs, changed.momentum) == (3, 0.9)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("optimizer", "sdg", UnknownName, "optimizer 'sdg'; did you mean sgd?"),
        ("schedule", "linear", UnknownName, "schedule 'linear'; known: cosine, constant, one_cycle, step"),
        ("learning_rate", 0.0, InvalidInput, "learning_rate 0.0 must be above 0 and finite"),
        ("learning_rate", math.nan, InvalidInput, "learning_rate nan must be above 0 and finite"),
        ("momentum", 1.0, InvalidInput, "momentum 1.0 must be 0 or more and below 1"),
        ("weight_decay", -1e-4, InvalidInput, "weight_decay -0.0001 must be 0 or more and finite"),
        ("epochs", 0, InvalidInput, "epochs 0 must be a whole number of at least 1"),
        ("epochs", "many", InvalidInput, "epochs 'many' must be a whole number of at least 1"),
        ("threads", True, InvalidInput, "threads True must be a whole number of at least 1"),
        ("momentum", "0.9", InvalidInput, "momentum '0.9' must be 0 or more and below 1"),
        ("batch_size", 2.5, InvalidInput, "batch_size 2.5 must be a whole number of at least 1"),
    ],
)
def test_settings_that_no_training_can_have_are_errors_at_construction(name, value, error, message):
    with pytest.raises(error) as caught:
        settings(**{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error_not_a_failed_training(digits, name):
    with pytest.raises(InvalidInput, match=f"device '{name}'"):
        train(small_network(), digits, settings(device=name), seed=0)


@pytest.mark.parametrize("package", ["hwopt.train", "hwopt.report"])
def test_importing_the_package_loads_no_heavy_library(package):
    heavy = "torch", "torchvision", "sklearn", "pandas", "matplotlib", "skopt", "rich"
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
