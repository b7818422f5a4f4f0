"""Schedules against torch's own schedulers."""

import pytest
import torch
from torch.optim import lr_scheduler

from hwopt.train.schedule import rate_factor

N_STEPS = 40


def rates(make_scheduler):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make_scheduler(optimizer)
    found = []
    for _ in range(N_STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("name", "make_scheduler"),
    [
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, N_STEPS)),
        ("step", lambda o: lr_scheduler.MultiStepLR(o, [N_STEPS // 2, N_STEPS * 3 // 4])),
        ("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, 0.3, N_STEPS + 1, cycle_momentum=False)),
        ("constant", lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_a_schedule_gives_the_rates_of_torchs_scheduler(name, make_scheduler):
    ours = [0.3 * rate_factor(name, step, N_STEPS) for step in range(N_STEPS)]
    assert ours == pytest.approx(rates(make_scheduler), rel=1e-9, abs=1e-12)


def test_a_training_of_one_step_has_a_rate():
    assert all(0 < rate_factor(name, 0, 1) <= 1 for name in ("cosine", "step", "one_cycle", "constant"))
