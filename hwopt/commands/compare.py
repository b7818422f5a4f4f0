"""`hwopt compare`: comparison of strategies."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console, interruptible
from hwopt.errors import InvalidInput


def compare(
    experiment: Annotated[
        str,
        typer.Argument(
            help="TOML file of a search or a comparison, the name of a problem, or file.py:function."
        ),
    ],
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="ehvi, random, optuna:tpe, ...; ehvi:unaware ignores the budgets. May be repeated."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per strategy; 10 if absent.")] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    trials: Annotated[int | None, typer.Option(min=1, help="Trainings per run; 60 if absent.")] = None,
    start: Annotated[
        int | None, typer.Option(min=0, help="Start points, common to all strategies; 5 if absent.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs in parallel; -1 for the number of cores.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; results/NAME if absent.")] = None,
) -> None:
    """Run strategies on the same problem, seeds and start points; the same command resumes a comparison.

    Example: hwopt compare synthetic_cnn --strategy ehvi --strategy random --seeds 5
    """
    from hwopt.compare import compare as run_all
    from hwopt.compare.plan_file import open_problem
    from hwopt.compare.report import write_comparison
    from hwopt.report.progress import ProgressDisplay

    folder = out or Path("results") / f"{Path(experiment.rpartition(':')[2]).stem}_comparison"
    with interruptible("finished trainings"), ProgressDisplay(console) as progress:
        problem, plan = open_problem(experiment, folder, progress)
        labels = strategy or plan.strategies
        if not labels:
            raise InvalidInput("nothing to compare; add --strategy ehvi --strategy random:unaware, or others")
        first = range(first_seed, first_seed + (seeds or plan.seeds))
        n_start = plan.n_start if start is None else start
        n_trials = trials or plan.n_trials
        comparison = run_all(problem, labels, first, n_trials, jobs, folder, n_start, progress)
    for part in write_comparison(comparison, folder):
        console.print(part, highlight=False)
