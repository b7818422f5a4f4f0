"""Experiment files in TOML: search space, device, budgets, data and training of a search.

space = "../search_spaces/digits_cnn.py"       a Python file with SPACE; paths are relative to the TOML file
objectives = ["error", "time_s"]
n_trials = 32

[device]                                       either a profile, or measure = "cpu" to make one
measure = "cpu"
batch_size = 32
[budgets]                                      a number, "5 ms", {limit, confidence} or {quantile, confidence}
time_s = {quantile = 0.4}
[outcome_budgets]                              limits on outcomes of trainings, learned by the search
calibration_error = 0.05
[data]
name = "digits"
[training]
epochs = 15
[stop]                                         further ends of the search; the first one applies
wall_s = "8 h"
[stopping]                                     rule that pauses or stops unpromising trainings
rule = "front"
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from hwopt.costs import (
    Budget,
    CostFunction,
)
from hwopt.errors import HwoptError, InvalidInput, did_you_mean
from hwopt.search.pricing_steps import OnPriced
from hwopt.space.search_space import SearchSpace
from hwopt.study.budgets import resolve_budgets
from hwopt.study.experiment.online_calibration import TRAINING_MEMORY
from hwopt.study.experiment.sections import (
    BudgetSection,
    DataSection,
    DeviceSection,
    OutcomeBudgetSection,
    SearchLimitsSection,
    Section,
    StoppingRuleSection,
    VerifySection,
    resolved_source,
)
from hwopt.study.run.limits import LARGEST_JOBS, LARGEST_STUDY
from hwopt.study.store.code_identity import file_fingerprint, program_fingerprint
from hwopt.train.data import DatasetSpec
from hwopt.train.outcomes import OUTCOMES
from hwopt.train.settings import TrainingSettings


class Experiment(Section):
    """Experiment file. Paths are relative to its folder."""

    space: str
    """Python file with SPACE, the search space."""
    objectives: list[str]
    """"error" and one to three costs, all minimised."""
    n_trials: int = Field(gt=0, le=LARGEST_STUDY)
    """Number of trainings."""
    strategy: str = "ehvi"
    """Strategy that selects configs; see `hwopt strategies`."""
    aware: bool = True
    """Whether the strategy knows the budgets; if not, it learns them by training, for comparisons."""
    repeats: bool = False
    """Whether a config may be trained again with another seed, to average noise."""
    seed: int = Field(0, ge=0)
    """Seed of the search."""
    jobs: int | None = Field(None, gt=0, le=LARGEST_JOBS)
    """Parallel trainings; 1, or the number of a cluster's workers, if absent."""
    executor: Literal["local", "dask", "ray"] = "local"
    """Executor of the trainings."""
    address: str | None = None
    """Address of the cluster, such as "tcp://HOST:8786"."""
    retries: int = Field(1, ge=0)
    """Number of retries of a trial whose worker died."""
    slice_epochs: int = Field(1, gt=0)
    """Epochs between two checkpoints."""
    keep_weights: Literal["front", "all", "none"] = "front"
    """Trials whose trained weights are kept."""
    device: DeviceSection
    """Device of the networks' costs."""
    data: DataSection | None = None
    """Data set."""
    objective: str | None = None
    """Your own objective instead of [data] and [training]: "my_training.py:objective"."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of training, unless they are hyperparameters of the config."""
    budgets: dict[str, BudgetSection] = Field(default_factory=dict)
    """Limits on costs, by metric: a limit, or a quantile of the space."""
    outcome_budgets: dict[str, OutcomeBudgetSection] = Field(default_factory=dict)
    """Limits on outcomes of trainings."""
    reference: dict[str, float] = Field(default_factory=dict)
    """Reference point of the hypervolume, by objective; for a cost its budget if absent."""
    enqueue: list[dict[str, Any]] = Field(default_factory=list)
    """Complete configs that are trained first."""
    verify: VerifySection = VerifySection()  # type: ignore[call-arg]
    """Verification of networks by retraining and measuring; true is short for measuring."""
    stop: SearchLimitsSection = SearchLimitsSection()
    """Further ends of the search; the first one applies, or n_trials."""
    stopping: StoppingRuleSection = StoppingRuleSection()
    """Rule that pauses or stops unpromising trainings."""

    _folder: Path = PrivateAttr(default=Path("."))

    @model_validator(mode="after")
    def _one_of_two(self) -> "Experiment":
        if (self.data is None) == (self.objective is None):
            raise ValueError(
                'give either [data], or objective = "my_training.py:objective", which loads its own data'
            )
        return self

    @property
    def folder(self) -> Path:
        """Folder of the file, to which its paths are relative."""
        return self._folder

    def changed(self, **values: Any) -> "Experiment":
        """Return the experiment with other top-level values."""
        changed = self.model_copy(update=values)
        changed._folder = self._folder
        return changed

    def load_space(self) -> SearchSpace:
        """Import the search space's file and return its SPACE."""
        return SpaceFile(str(self.folder / self.space))()

    def dataset(self, space: SearchSpace | None = None) -> DatasetSpec:
        """Return the data set to load; images of a folder are resized to the input shape of the space."""
        assert self.data is not None  # else the objective loads its own
        return self.data.spec(self.folder, None if space is None else space.input_shape)

    def settings(self) -> TrainingSettings:
        """Return the settings of training."""
        return TrainingSettings(**self.training)

    def resolve_budgets(
        self, space: SearchSpace, costs: CostFunction, on_priced: OnPriced | None = None
    ) -> list[Budget]:
        """Return the budgets, with quantiles converted to limits at the budget's confidence.

        `on_priced` is called with the numbers of priced and planned configs while a sample is priced.
        """
        return resolve_budgets(self.budgets, space, costs, on_priced)

    def outcome_limits(self) -> list[Budget]:
        """Return the outcome budgets.

        Raises:
            InvalidInput: for a metric that the trainer does not report, or an invalid limit.
        """
        for metric in self.outcome_budgets:
            if self.objective is None and metric not in OUTCOMES:
                near = did_you_mean(metric, OUTCOMES)
                raise InvalidInput(f"outcome_budgets.{metric}: trainings do not report it{near}")
        return [Budget(metric, section.limit) for metric, section in self.outcome_budgets.items()]

    def optimizer_options(self, chance_error: float | None = None) -> dict[str, Any]:
        """Return the arguments of an `Optimizer` besides space, costs and budgets.

        Args:
            chance_error: reference of the error where the file has none; None leaves it to be inferred.
        """
        known = {} if chance_error is None else {"error": chance_error}
        return {
            "objectives": self.objectives, "strategy": self.strategy, "aware": self.aware,
            "reference": {**known, **self.reference}, "seed": self.seed,
            "outcome_budgets": self.outcome_limits(), "repeats": self.repeats,
        }  # fmt: skip

    def identity(self, digest: str | None = None) -> dict[str, Any]:
        """Return the identity of a study of this experiment, besides the arguments of the study.

        Args:
            digest: fingerprint of a user's own data; None for a data set with a name.
        """
        unset = {"precision"} if self.device.precision is None else set()
        identity: dict[str, Any] = {"device": self.device.model_dump(exclude={"budget_s", *unset})}
        if self.data is not None:
            identity["data"] = self.data.identity(digest)
        if self.objective is not None:
            path = resolved_source(self.objective, self.folder).rpartition(":")[0]
            identity["objective"] = {"source": self.objective, "code": program_fingerprint(path)}
        identity["training"] = self.training
        if self.stopping.is_named:
            identity["stopping"] = self.stopping.model_dump()
        return identity

    def space_path(self) -> Path:
        """Return the path of the search space's file."""
        return (self.folder / self.space).resolve()

    def space_fingerprint(self) -> str | None:
        """Return the fingerprint of the code of the search space's file."""
        return file_fingerprint(self.space_path())

    def stored(self) -> dict[str, Any]:
        """Return the experiment as a study stores it; `Experiment.restored` is the inverse."""
        return {"folder": str(self.folder.resolve()), "content": self.model_dump(mode="json")}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> "Experiment":
        """Return the experiment that a study stores."""
        experiment = cls.model_validate(stored["content"])
        experiment._folder = Path(stored["folder"])
        return experiment


@dataclass(frozen=True)
class SpaceFile:
    """Search space by the path of its file, to send to a worker process."""

    path: str

    def __call__(self) -> SearchSpace:
        """Import the file and return its SPACE."""
        from hwopt.network.loading import load_attribute

        space = load_attribute(self.path, "SPACE")
        if not isinstance(space, SearchSpace):
            raise InvalidInput(f"{self.path}: SPACE is a {type(space).__name__}; it must be a SearchSpace")
        return space


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        InvalidInput: if the file is missing, is not TOML, or has an unknown key or an invalid value; the
            message names the nearest key.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InvalidInput(f"no experiment file {path}; give the path of a TOML file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder; give the path of a TOML file in it") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f'{path}: not valid TOML: {error}; strings need quotes: name = "digits"') from None
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        raise InvalidInput("\n".join(_explain(path, dict(e)) for e in error.errors())) from None
    experiment._folder = path.parent
    _check_values(path, experiment)
    return experiment


def _check_values(path: Path, experiment: Experiment) -> None:
    known = [field.name for field in fields(TrainingSettings)]
    for key in experiment.training:
        if key not in known:
            raise InvalidInput(f"{path}: training.{key}: unknown key{did_you_mean(key, known)}")
    if experiment.objective is not None:
        _check_own_training(path, experiment)
    try:
        experiment.settings()
    except HwoptError as error:
        raise InvalidInput(f"{path}: training: {error}") from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: training: a value has the wrong type: {error}") from None
    try:
        experiment.outcome_limits()
        experiment.stop.limits()
        if rule := experiment.stopping.maker(experiment.settings().epochs, 0.5, experiment.objectives):
            rule(reference=dict.fromkeys(experiment.objectives, 1.0))
        for metric, section in experiment.budgets.items():
            if section.limit is not None:
                Budget(metric, section.limit)  # raises for a limit that cannot be read
    except HwoptError as error:
        raise InvalidInput(f"{path}: {error}") from None


def _check_own_training(path: Path, experiment: Experiment) -> None:
    """Refuse settings that an own objective does not read, and a stopping rule without `epochs`."""
    for key in experiment.training:
        if key != "epochs":
            raise InvalidInput(
                f"{path}: training.{key}: objective = {experiment.objective!r} does not read it; leave it "
                "out (only epochs, the number of a whole training, is read, by stopping rules)"
            )
    if experiment.stopping.is_named and "epochs" not in experiment.training:
        raise InvalidInput(
            f"{path}: training.epochs: missing; stopping rule {experiment.stopping.rule!r} needs the number "
            "of epochs of a whole training"
        )
    if TRAINING_MEMORY in experiment.budgets:
        raise InvalidInput(
            f"{path}: budgets.{TRAINING_MEMORY}: it needs hwopt's trainer; leave it out beside objective"
        )


def _explain(path: Path, error: dict[str, Any]) -> str:
    """Return one line with the place and the kind of an error in the file."""
    place = [str(part) for part in error["loc"] if part not in ("float", "str")]
    where, kind = ".".join(place), error["type"]
    if kind == "extra_forbidden":
        return f"{path}: {where}: unknown key{did_you_mean(place[-1], _keys(place[:-1]))}"
    if kind == "missing":
        owner = f"every [{'.'.join(place[:-1])}]" if place[:-1] else "every experiment"
        return f"{path}: {where}: missing; {owner} needs it"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    got = "" if isinstance(error["input"], dict) else f"; got {error['input']!r}"
    return f"{path}: {where or 'experiment'}: {message}{got}"


def _keys(place: Sequence[str]) -> list[str]:
    """Return the known keys at a place of the file."""
    sections: dict[str, type[BaseModel]] = {
        "device": DeviceSection, "data": DataSection, "verify": VerifySection, "budgets": BudgetSection,
        "outcome_budgets": OutcomeBudgetSection, "stop": SearchLimitsSection, "stopping": StoppingRuleSection,
    }  # fmt: skip
    model = sections[place[0]] if place and place[0] in sections else Experiment
    return list(model.model_fields)
