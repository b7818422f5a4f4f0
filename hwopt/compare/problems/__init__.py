"""Benchmark problems by name: formulas, tables of real trainings, and NAS-Bench-201 from its files.

    load_problem("synthetic_cnn")                 a formula
    load_problem("digits_emulator")               fitted to real trainings, once and for all
    load_problem("nas_bench_201", path="nb201.csv.gz", device="raspi4")
    load_problem("mine.py:problem")               a function of your own that returns a Problem

Every one has budgets on costs that are known before training, and the best front that there is.
"""

from hwopt.compare.problems.registry import PROBLEMS, load_problem

__all__ = ["PROBLEMS", "load_problem"]
