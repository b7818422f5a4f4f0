"""Measured networks of a profile in one table, and their families."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.network.layer import METRICS
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.families import family
from hwopt.profile.device_profile import DeviceProfile

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MeasuredNetworks:
    """The m networks of a profile with layers and a measured metric; one entry for all modes of a network.

    Attributes:
        frame: network, source, batch, dtype and family of each network, [m].
        table: their layers.
        figures: mode -> metric -> measured values, NaN if not measured, [m].
    """

    frame: "pd.DataFrame"
    table: NetworkTable
    figures: dict[str, dict[str, Array]]

    @classmethod
    def of(cls, profile: DeviceProfile) -> "MeasuredNetworks":
        """Return the networks of a profile, in file order."""
        rows = profile.networks
        has_layers = rows["network"].isin(set(profile.network_layers["network"]))
        rows = rows[has_layers & rows[list(METRICS)].notna().any(axis=1)]
        frame = rows.drop_duplicates("network").reset_index(drop=True)
        frame = frame.assign(family=[family(name) for name in frame["network"]])
        figures = {
            str(mode): {
                metric: own.set_index("network")[metric].reindex(frame["network"]).to_numpy(dtype=float)
                for metric in METRICS
            }
            for mode, own in rows.groupby("mode")
        }
        columns = ["network", "source", "batch", "dtype", "family"]
        return cls(frame[columns], NetworkTable.of_profile(profile, frame), figures)

    @property
    def families(self) -> NDArray[np.str_]:
        """Family of each network, [m]."""
        return self.frame["family"].to_numpy(dtype=str)

    def __len__(self) -> int:
        return len(self.frame)

    def measured(self, mode: str, metric: str) -> Array:
        """Return a metric in a mode, [m]; NaN if it was not measured."""
        return self.figures.get(mode, {}).get(metric, np.full(len(self), np.nan))

    def only(self, kept: Mask, mode: str) -> dict[str, Array]:
        """Return the measured values of a mode, metric -> [m], NaN for networks that are not kept."""
        return {metric: np.where(kept, self.measured(mode, metric), np.nan) for metric in METRICS}

    def has_mode(self, mode: str) -> Mask:
        """Return a mask of the networks with a measured metric in a mode, [m]."""
        own = [np.isfinite(self.measured(mode, metric)) for metric in METRICS]
        return np.asarray(np.any(own, axis=0), dtype=bool)

    def folds(self, n_most: int, mode: str) -> NDArray[np.intp]:
        """Assign the families to folds; return the fold of each network, [m].

        A fold is one family if there are at most `n_most`, otherwise several, drawn with a fixed seed.
        Families without a measurement in the mode are in no fold: -1.
        """
        families = self.families
        own = np.unique(families[self.has_mode(mode)])
        order = np.random.default_rng(0).permutation(len(own))
        place = {str(own[i]): int(k % min(n_most, len(own))) for k, i in enumerate(order)}
        return np.array([place.get(name, -1) for name in families], dtype=np.intp)


def group_weights(families: NDArray[np.str_]) -> Array:
    """Return 1 / size of the family of each network, [n]; the sum is the number of families."""
    _, place, counts = np.unique(families, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[place], dtype=float)
