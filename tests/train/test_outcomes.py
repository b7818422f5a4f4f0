import numpy as np
import pytest
import torch
from torch import nn

from hwopt.train import TrainingSettings, error_of, load_dataset, train
from hwopt.train.outcomes import OUTCOMES, calibration_error, outcomes_of, worst_class_error


def test_calibration_error_by_hand():
    confidences = np.array([0.9, 0.9, 0.9, 0.9, 0.55, 0.55])
    is_right = np.array([True, True, True, False, True, False])
    assert calibration_error(confidences, is_right) == pytest.approx((4 * (0.9 - 0.75) + 2 * 0.05) / 6)


def test_who_is_as_sure_as_right_is_calibrated_and_who_is_sure_and_wrong_is_not():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.1, 1.0, 200_000)
    is_right = rng.random(len(confidences)) < confidences
    assert calibration_error(confidences, is_right) < 0.01
    assert calibration_error(np.ones(5), np.zeros(5, dtype=bool)) == 1.0
    assert calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0.0


def test_calibration_error_is_that_of_its_definition_bin_by_bin():
    rng = np.random.default_rng(1)
    confidences = rng.random(500)
    is_right = (confidences * 15).astype(int) % 2 == 0  # neighbours err in opposite directions
    total = 0.0
    for k in range(15):
        inside = (confidences >= k / 15) & (confidences < (k + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(is_right[inside].mean() - confidences[inside].mean())
    assert calibration_error(confidences, is_right) == pytest.approx(total)


def test_the_worst_class_counts_and_a_class_that_does_not_occur_does_not():
    labels = np.array([0, 0, 0, 0, 2, 2])
    assert worst_class_error(np.array([0, 0, 0, 1, 2, 1]), labels) == 0.5
    assert worst_class_error(labels, labels) == 0.0


def test_logits_of_any_size_have_outcomes():
    logits, labels = np.array([[1e4, 0.0], [-1e4, 1e4]]), np.array([0, 0])
    assert outcomes_of(logits, labels) == {"calibration_error": 0.5, "worst_class_error": 0.5}


def test_a_training_reports_the_outcomes_of_its_validation_split():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    dataset = load_dataset("digits")
    result = train(network, dataset, TrainingSettings(epochs=2, device="cpu", threads=1), seed=0)
    split = dataset.validation
    with torch.no_grad():
        logits = network(split.images).double().numpy()
    assert {name: result.metrics[name] for name in OUTCOMES} == pytest.approx(
        outcomes_of(logits, split.labels.numpy())
    )
    assert result.metrics["worst_class_error"] >= error_of(network, split) == result.error
