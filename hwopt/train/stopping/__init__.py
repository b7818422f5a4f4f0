"""Early termination: whether a training that cannot win should go on, judged after each epoch.

    none      never stops
    chance    no better than guessing after a few epochs              (HyperPower, Stamoulis et al. 2018)
    median    worse than the median of the others so far              (Golovin et al. 2017)
    asha      not in the best third when a rung is reached            (Li et al. 2020; Schmucker et al. 2021)
    front     cannot reach the error that its known costs need to enter the front
    freeze_thaw   its next epochs are worth less than those of another: paused, and perhaps resumed

A rule is a frozen dataclass: its fields are the options that an experiment may set.
"""

from hwopt.train.stopping.curve import Curve, StoppingRule, Verdict, judge_epochs
from hwopt.train.stopping.registry import RULES, make_stopping_rule

__all__ = ["RULES", "Curve", "StoppingRule", "Verdict", "judge_epochs", "make_stopping_rule"]
