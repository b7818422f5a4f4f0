"""Peak memory of a network on a GPU: weights, live results, and the copies of the running kernel.

peak = weights + max over layers of (live bytes while it runs + the kernel's copies)
"""

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.network_table import NetworkTable


def peak_bytes(table: NetworkTable, copy_bytes: Array) -> Array:
    """Return the peak memory of each network, [m], given the bytes copied by each layer's kernel, [n].

    If the live bytes of a layer are unknown, the bytes of its input and output replace them.
    """
    own = table.layers[["input_bytes", "output_bytes"]].sum(axis=1).to_numpy(dtype=float)
    live = table.layers["live_bytes"].to_numpy(dtype=float)
    is_known = table.all_of(live > 0)
    live = np.where(is_known[table.segment], live, own)
    summed = np.minimum(table.sum(table.layers["weight_bytes"].to_numpy(dtype=float)), table.memory_bytes)
    weights = np.where(is_known, table.memory_bytes - table.most(live), summed)
    return np.maximum(table.memory_bytes, weights + table.most(live + copy_bytes))
