"""Read access to a study from its file, without the space, the costs or the objective.

    file --Store--> trials, front, best, hypervolume, data frames, report

`Study` has the same methods while it runs. Each call reads the current file, so a study that runs in another
process can be followed.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.costs import Budget, check_metric
from hwopt.errors import HwoptError, Infeasible, StudyError
from hwopt.report.analysis.study_data import read_studies
from hwopt.report.page.render import write_page
from hwopt.report.study import report_text
from hwopt.scalars import whole_number
from hwopt.study.run.export import export_trial
from hwopt.study.store.results import FrontPoint, front_of, hypervolume_of
from hwopt.study.store.store import Store, Trial
from hwopt.study.store.trial_tables import Row, flat_rows, front_rows
from hwopt.units import counted, format_quantity, parse_quantity

if TYPE_CHECKING:
    import pandas as pd

_OF_RUNNING = ("optimizer", "survey", "enqueue", "run", "run_again", "retarget")  # needs space or objective


class StudyReader:
    """Read access to a study.

    Args:
        store: store of the study.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        name = f"{type(self).__name__} {self._place}"
        try:
            return f"<{name}: {self._outline()}>"
        except HwoptError as error:
            return f"<{name}: {error}>"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Minimised metrics, the error first."""
        return tuple(self._identity_kept()["objectives"])

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Limits on predicted costs."""
        return tuple(Budget(**budget) for budget in self._identity_kept()["budgets"])

    def trials(self) -> list[Trial]:
        """Return all trials by number."""
        return self.store.trials()

    def front(self) -> list[FrontPoint]:
        """Return the feasible and nondominated trials by decreasing error, each config once."""
        return front_of(self.trials(), self.objectives)

    def best(self, **limits: float | str) -> FrontPoint:
        """Return the trained network with the lowest error within limits, as in `best(time_s="3 ms")`.

        Args:
            limits: largest predicted cost by metric: a number in SI units or a text with a unit. The study's
                budgets always apply.

        Raises:
            Infeasible: if no trained network is within the limits; the message names the nearest.
            StudyError: if no feasible training is complete.
            UnknownName: for a metric without predictions.
        """
        trained = [trial for trial in self.trials() if trial.status == "complete" and trial.is_feasible]
        if not trained:
            raise StudyError(f"{self._place}: no feasible training is complete, so there is no best one")
        checked = {
            check_metric(metric, list(trained[0].costs)): parse_quantity(metric, limit)
            for metric, limit in limits.items()
        }
        kept = [t for t in trained if all(t.costs[metric] <= limit for metric, limit in checked.items())]
        if not kept:
            raise Infeasible(_no_trial_within(checked, trained))
        return front_of(kept, self.objectives)[-1]

    def hypervolume(self) -> float:
        """Return the hypervolume of the front in error and log costs, with the study's reference point."""
        reference = self.store.meta().get("reference")
        return hypervolume_of(self.trials(), reference) if reference else 0.0

    def dataframe(self) -> "pd.DataFrame":
        """Return a data frame with one row per trial.

        Columns: trial, status, error, predicted costs, further outcomes of trainings, `is_feasible`,
        `is_on_front`, source, seed, times and counts, the reason of the end, and hyperparameters; missing
        values are NaN or None. SI units, errors as shares. Curves are in `trials()`.
        """
        self._identity_kept()
        return _frame(flat_rows(self.store))

    def front_dataframe(self) -> "pd.DataFrame":
        """Return a data frame with one row per network of the front, by decreasing error.

        Columns: trial, error, predicted costs; `test_error` of trainings on fresh seeds and `measured_*`
        costs if verified; and hyperparameters. SI units, errors as shares.
        """
        self._identity_kept()
        return _frame(front_rows(self.store))

    def report(self, out: str | Path | None = None, *, html: str | Path | None = None) -> str:
        """Write front.csv, trials.csv and the figures of the front, and return what `hwopt report` prints.

        Args:
            out: folder to write into; that of the study if absent.
            html: file to write the interactive page into as well, such as "report.html"; `hwopt report` adds
                the networks' layers, for which it runs the file of the search space.

        Raises:
            InvalidInput: if the folder or the file cannot be written.
        """
        if html is not None:
            write_page(read_studies(self.store.path), Path(html))
        return report_text(self.store, Path(out) if out is not None else self.store.path.parent)

    def export(self, number: int, out: str | Path, *, force: bool = False, onnx: bool = True) -> list[Path]:
        """Write a trial into a folder to take away, and return what was written.

        Weights (as a state dict, as safetensors, and as ONNX where the network allows), config, a card, and
        the file of the search space. Of a plain function, which gives no weights, config and card alone; of a
        loaded study, no space, and weights if they are kept.

        Args:
            number: of the trial.
            out: folder to write into.
            force: write into a folder that holds files, and over an earlier export.
            onnx: write the network as ONNX as well, if possible.

        Raises:
            InvalidInput: if there is no such trial.
            StudyError: where its weights are not kept though the objective gives them, or the folder holds
                something.
        """
        number = whole_number("number", number)
        return export_trial(
            self.store.path, number, Path(out), force=force, onnx=onnx, **self._export_options()
        )

    def _export_options(self) -> dict[str, Any]:
        """Return what is known beyond the file: whether weights are needed, and the space."""
        return {"needs_weights": False}

    @property
    def _place(self) -> str:
        return str(self.store.path)

    def _outline(self) -> str:
        trials = self.trials()
        return outline(Counter(trial.status for trial in trials), front_of(trials, self.objectives))

    def _identity_kept(self) -> Mapping[str, Any]:
        """Return the identity of the study; raise StudyError if it is not written yet."""
        identity: Mapping[str, Any] | None = self.store.meta().get("identity")
        if identity is None:
            raise StudyError(f"{self._place} holds no trials yet")
        return identity


class LoadedStudy(StudyReader):
    """Read-only study, the result of `Study.load(path)`."""

    def __enter__(self) -> "LoadedStudy":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_RUNNING:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise StudyError(
            f"{self._place}: a loaded study is read only and has no {name}; "
            "open it with Study(path, space, costs, objective) to continue"
        )

    def close(self) -> None:
        """Close the file; its contents can still be read."""
        self.store.close()


def outline(n_trials: Mapping[str, int], front: list[FrontPoint]) -> str:
    """Return a summary of a study: number of trials by status, size of the front, lowest error."""
    total = sum(n_trials.values())
    ended = ", ".join(f"{n} {status}" for status, n in n_trials.items())
    text = f"{counted(total, 'trial')}{f' ({ended})' * (total > 0)}, {len(front)} on the front"
    return text + (f", lowest error {min(p.values['error'] for p in front):.4g}" if front else "")


def _no_trial_within(limits: Mapping[str, float], trained: list[Trial]) -> str:
    """Return the message for limits that no trained network is within."""
    wanted = " and ".join(f"{metric} <= {format_quantity(metric, limit)}" for metric, limit in limits.items())
    lowest = {metric: min(trained, key=lambda trial: trial.costs[metric]) for metric in limits}
    nearest = ", ".join(
        f"the lowest {metric} is {format_quantity(metric, trial.costs[metric])} (trial {trial.number})"
        for metric, trial in lowest.items()
    )
    return f"no trained network has {wanted}; {nearest}"


def _frame(rows: list[Row]) -> "pd.DataFrame":
    """Return rows as a data frame; columns of numbers without any value are NaN."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for name in ("error", "train_s", "elapsed_s", "train_energy_j"):
        if name in frame:
            frame[name] = frame[name].astype(float)
    return frame
