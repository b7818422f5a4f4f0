"""Tables of an experiment file and their keys."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwopt.costs import CONFIDENCE
from hwopt.errors import InvalidInput
from hwopt.study.run.limits import Stop
from hwopt.study.run.stopping_argument import AUTOMATIC
from hwopt.train.data import DatasetSpec
from hwopt.train.stopping import StoppingRule, make_stopping_rule
from hwopt.train.stopping.freeze_thaw import check_pausable
from hwopt.units import DURATION_UNITS, parse_quantity


class Section(BaseModel):
    """Table of the file, without unknown keys and other types.

    The docstring of a field is its description in the JSON schema; see `hwopt.study.experiment.json_schema`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class DeviceSection(Section):
    """Device of the networks: a measured profile, or a device to measure first."""

    profile: str | None = None
    """Shipped profile (see `hwopt devices`), or path of a profile folder."""
    measure: str | None = None
    """Device of this machine to measure first, such as "cpu" or "cuda:0", instead of profile."""
    budget_s: float = Field(80.0, gt=0)
    """Seconds for measuring."""
    method: str = "hybrid"
    """Cost model."""
    on_busy: Literal["refuse", "accept"] = "accept"
    """Whether to measure under CPU contention."""
    batch_size: int = Field(1, gt=0)
    """Items in one inference pass."""
    dtype: str = "float32"
    """Type of weights and activations, as in the profile."""
    mode: Literal["eager", "graph"] = "eager"
    """Operator by operator, or replayed as a CUDA graph."""
    precision: Literal["default", "ieee", "bfloat16"] | None = None
    """Required arithmetic of matrix products of the profile."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "DeviceSection":
        if (self.profile is None) == (self.measure is None):
            raise ValueError('give either profile = "NAME or folder" or measure = "cpu"')
        return self

    def asked(self) -> dict[str, Any]:
        """Return the arguments of `Device.cost_model`."""
        names = ("batch_size", "method", "dtype", "mode", "precision")
        return {name: getattr(self, name) for name in names}


class LimitSection(Section):
    """Section that may be written as a bare limit: `time_s = "5 ms"`."""

    ways_to_write: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_limit(cls, given: Any) -> Any:
        if isinstance(given, int | float | str) and not isinstance(given, bool):
            return {"limit": given}
        if not isinstance(given, dict):
            raise ValueError(f"write {cls.ways_to_write}")
        return given


class BudgetSection(LimitSection):
    """Limit on a predicted cost, or a quantile of the predicted costs as the limit."""

    ways_to_write: ClassVar[str] = '250, "250 W", {limit = "250 W"} or {quantile = 0.3}'
    limit: float | str | None = None
    """Number in SI units, or a text such as "5 ms"."""
    quantile: float | None = Field(None, gt=0, lt=1)
    """Share of the space within the budget, instead of a limit."""
    confidence: float = Field(CONFIDENCE, gt=0, lt=1)
    """Probability with which a proposed network must be within the budget."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "BudgetSection":
        if (self.limit is None) == (self.quantile is None):
            raise ValueError("give either limit or quantile")
        return self


class OutcomeBudgetSection(LimitSection):
    """Limit on an outcome of training, which the search learns; without a confidence."""

    ways_to_write: ClassVar[str] = "0.05 or {limit = 0.05}"
    limit: float | str
    """Limit."""


class DataSection(Section):
    """Data set: a name (see `hwopt.train.load_dataset`), or your own (see `hwopt.train.own_data`)."""

    name: str | None = None
    """Known data set."""
    source: str | None = None
    """Your own data set: "my_data.py:load", a function that returns it, or a folder of images."""
    data_dir: str | None = None
    """Folder of the files of a known data set; HWOPT_DATA_DIR, or a download by torchvision, if absent."""
    validation_share: float | None = None
    """Share of the data outside the test set that is held out for the validation error, 0 to 1."""
    subset: int | None = None
    """Number of training images; all if absent."""
    seed: int = 0
    """Seed of the validation set and the subset."""
    normalise: bool = True
    """Whether the values of a source are normalised per channel."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "DataSection":
        if (self.name is None) == (self.source is None):
            raise ValueError('give either name = "digits" or source = "my_data.py:load"')
        if self.source is not None and self.data_dir is not None:
            raise ValueError("data_dir is the folder of a known data set; leave it out beside source")
        if self.name is not None and not self.normalise:
            raise ValueError("normalise = false needs source; known data sets are always normalised")
        return self

    def spec(self, folder: Path, input_shape: tuple[int, ...] | None) -> DatasetSpec:
        """Return the data set to load; paths are relative to `folder`, images get `input_shape`."""
        spec = DatasetSpec(
            self.source or str(self.name),
            validation_share=self.validation_share,
            subset=self.subset,
            seed=self.seed,
        )
        if self.source is None:
            data_dir = None if self.data_dir is None else str((folder / self.data_dir).resolve())
            return replace(spec, data_dir=data_dir)
        source = resolved_source(self.source, folder)
        return replace(spec, source=source, input_shape=input_shape, normalise=self.normalise)

    def identity(self, digest: str | None) -> dict[str, Any]:
        """Return the identity of the data; `digest` is the fingerprint of a source's content."""
        if self.source is None:
            return self.model_dump(exclude={"data_dir", "source", "normalise"})
        return {**self.model_dump(exclude={"data_dir", "name"}), "digest": digest}


class VerifySection(Section):
    """Verification; `verify = true` is short for measuring the trained networks and the front."""

    retrain_seeds: int = Field(0, ge=0)
    """Number of trainings of each network of the front on fresh seeds, for the test error."""
    measure: bool = False
    """Measure each network of the front, if the device is this machine."""
    trained: bool = False
    """Measure each trained network as well, and recalibrate the cost model."""

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, given: Any) -> Any:
        """Convert `verify = true`."""
        if not isinstance(given, bool | dict):
            raise ValueError("write true, or {retrain_seeds = 1, measure = true, trained = true}")
        return {"measure": given, "trained": given} if isinstance(given, bool) else given


class SearchLimitsSection(Section):
    """Limits of the search besides `n_trials`; see `hwopt.study.run.limits.Stop`."""

    wall_s: float | str | None = None
    """Run time: 3600 or "1 h"."""
    training_energy_j: float | str | None = None
    """Energy of the trainings: 2e6 or "2 MJ"."""
    hypervolume: float | None = None
    """Hypervolume of the front."""
    no_progress: int | None = None
    """Consecutive trainings without a change of the front."""

    def limits(self) -> Stop:
        """Return the limits as numbers in SI units."""
        return Stop(
            _limit("wall_s", self.wall_s, DURATION_UNITS),
            _limit("training_energy_j", self.training_energy_j),
            self.hypervolume,
            self.no_progress,
        )


class StoppingRuleSection(Section):
    """Rule that stops or pauses trainings: its name and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str = AUTOMATIC
    """Name of the rule; its options are further keys of this table. freeze_thaw by default, if trainings
    have checkpoints and at least four epochs."""

    @property
    def is_named(self) -> bool:
        """Whether the file names a rule that stops or pauses trainings."""
        return self.rule not in ("none", AUTOMATIC)

    def maker(
        self, n_epochs: int, chance_error: float | None, objectives: Sequence[str]
    ) -> Callable[..., StoppingRule] | None:
        """Return a function that makes the rule from `reference=`; None if no rule is named."""
        options = dict(self.model_extra or {})
        if not self.is_named:
            if options:
                raise InvalidInput(f"stopping.{next(iter(options))}: an option of a rule; set rule as well")
            return None
        for option in options:
            if option in ("n_epochs", "chance_error", "objectives", "reference"):
                where = "training.epochs" if option == "n_epochs" else "another table"
                raise InvalidInput(f"stopping.{option}: not an option of a rule; it comes from {where}")
        if self.rule == "freeze_thaw":
            check_pausable(n_epochs)
        return partial(
            make_stopping_rule,
            self.rule,
            n_epochs=n_epochs,
            chance_error=chance_error,
            objectives=objectives,
            **options,
        )


def resolved_source(source: str, folder: Path) -> str:
    """Return a path, or FILE.py:NAME, as an absolute path; relative ones start from `folder`."""
    path, _, name = source.rpartition(":")
    if path.endswith(".py"):
        return f"{(folder / path).resolve()}:{name}"
    return str((folder / source).resolve())


def _limit(name: str, given: float | str | None, units: Mapping[str, float] | None = None) -> float | None:
    return None if given is None else parse_quantity(name, given, units, label=f"stop: {name}")
