"""Seeds of trainings, as functions of the study's seed and the trial's number."""

import numpy as np


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial."""
    return int(np.random.SeedSequence([seed, 4, number]).generate_state(1)[0] >> 1)


def fresh_seed(seed: int, number: int, k: int) -> int:
    """Return the k-th fresh seed for a trial's config, which no trial of the study has used."""
    return int(np.random.SeedSequence([seed, 5, number, k]).generate_state(1)[0] >> 1)
