"""Time whole processes: `hwopt --help`, and `import hwopt`.

    python experiments/benchmarks/startup.py --out results/benchmarks/startup.csv

Writes median, lowest and highest of the repetitions in seconds, after one warm-up run.
"""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import hwopt": [sys.executable, "-c", "import hwopt"],
    "hwopt --help": [str(Path(sys.executable).with_name("hwopt")), "--help"],
}


def seconds_of(command: list[str]) -> float:
    """Return the wall time of one run."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Time all commands in an interleaved order and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/startup.csv"))
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.repeats + 1):
        for name, command in COMMANDS.items():
            seconds[name].append(seconds_of(command))
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["command", "n_repeats", "median_s", "lowest_s", "highest_s"])
        for name, (_, *counted) in seconds.items():
            row = [name, len(counted), *(f"{f(counted):.3f}" for f in (median, min, max))]
            writer.writerow(row)
            print(*row)


if __name__ == "__main__":
    main()
