"""Metrics of a trained network besides its error: calibration error, and error of the worst class.

Both may have a limit in a search (`outcome_budgets`), and both are of the validation split.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

OUTCOMES = ("calibration_error", "worst_class_error")

_N_BINS = 15


def outcomes_of(logits: Array, labels: NDArray[np.int64]) -> Mapping[str, float]:
    """Return all `OUTCOMES` of a split: logits [n, n_classes] and the right classes [n]."""
    predicted = logits.argmax(axis=1)
    return {
        "calibration_error": calibration_error(_softmax(logits).max(axis=1), predicted == labels),
        "worst_class_error": worst_class_error(predicted, labels),
    }


def calibration_error(confidences: Array, is_right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0 to 1: how far confidence and accuracy are apart.

    ECE = sum over bins of n_bin / n * |accuracy in it - mean confidence in it|   (Guo et al. 2017)

    Args:
        confidences: probability that the network gave its answer, shape [n]; 15 bins of equal width.
        is_right: whether the answer was right, shape [n].
    """
    bins = np.minimum((confidences * _N_BINS).astype(int), _N_BINS - 1)
    gaps = np.bincount(bins, weights=is_right - confidences, minlength=_N_BINS)  # n_bin * (accuracy - mean)
    return float(np.abs(gaps).sum() / len(confidences))


def worst_class_error(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the largest share of wrong answers, 0 to 1, among the classes that occur; arguments [n]."""
    n_images = np.bincount(labels)
    n_wrong = np.bincount(labels, weights=predicted != labels)
    return float(np.max(n_wrong[n_images > 0] / n_images[n_images > 0]))


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
