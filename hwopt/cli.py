"""The command line: `hwopt env | profile | predict | validate | search | report`.

Errors that a user can act on are printed without a traceback, with exit code 2; anything else is a bug.
Heavy libraries are imported by the commands that need them, so that `hwopt --help` answers at once.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hwopt.errors import HwoptError, InvalidInput, StudyError

if TYPE_CHECKING:
    from hwopt.device.profile import DeviceProfile
    from hwopt.report.prediction import Predicted
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.search import Search
    from hwopt.study.store import Trial

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search CNNs under hardware budgets: predict what a network costs before it is trained.",
)
console = Console(soft_wrap=True, markup=False)  # what is printed may hold brackets: it is no markup


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except HwoptError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'writing'}: {error.strerror or error}; what is finished is kept")


def _fail(message: str) -> None:
    """Print an error without a traceback and exit with code 2."""
    Console(stderr=True, soft_wrap=True).print(
        f"error: {message}", style="red", markup=False, highlight=False
    )
    sys.exit(2)


@contextmanager
def _interruptible(kept: str) -> Iterator[Callable[[], None]]:
    """On Ctrl-C, say what is kept and exit with code 130.

    Yields a function that raises KeyboardInterrupt once Ctrl-C was pressed: an interrupt that arrives in a
    destructor or a callback is swallowed there, and would be lost otherwise.
    """
    presses: list[int] = []

    def remember(signal_number: int, frame: FrameType | None) -> None:
        presses.append(signal_number)
        raise KeyboardInterrupt

    def check() -> None:
        if presses:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield check
    except KeyboardInterrupt:
        console.print(f"\nstopped; {kept} are kept: the same command goes on from here")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


@app.command()
def env() -> None:
    """Show versions, devices, and which sensors can be read."""
    from hwopt.report.environment import environment_tables

    for table in environment_tables():
        console.print(table)


@app.command()
def profile(
    out: Annotated[Path, typer.Option(help="Folder of the profile; rows that are there are kept.")],
    device: Annotated[str, typer.Option(help="cpu, cuda:0, or simulated: a dry run.")] = "cpu",
    budget: Annotated[str, typer.Option(help="Time to spend: 90s, 9m.")] = "90s",
    space: Annotated[
        Path | None, typer.Option(help="Measure around the networks of this search space.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Inputs in one pass.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the device; its model if absent.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is sampled.")] = 0,
    precision: Annotated[
        str, typer.Option(help="Of a GPU: default (PyTorch's own), ieee (no TF32), bfloat16.")
    ] = "default",
    busy: Annotated[
        str, typer.Option(help="A CPU that others use too: refuse its times, or accept them.")
    ] = "refuse",
) -> None:
    """Measure a device: single operators and whole networks, into a profile folder.

    The same command again goes on where the last one ended, also after a crash.
    """
    from hwopt.device.measure import profile_device
    from hwopt.predict.device import load_device
    from hwopt.report.device import write_profile_report
    from hwopt.report.prediction import validation_table
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment import SpaceFile

    seconds = _parse_duration(budget)
    loaded = SpaceFile(str(space))() if space else None
    with _interruptible("finished rows"), ProgressDisplay(console) as progress:
        found = profile_device(
            out, device, seconds, loaded, batch_size, seed, progress, name, precision, busy
        )
    console.print(f"report: {write_profile_report(found)}", highlight=False)
    _check_measured(found)
    measured = load_device(str(out))
    console.print(validation_table(measured, "hybrid"))
    for note in measured.model("hybrid").notes:
        console.print(f"* {note}", highlight=False)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="torchvision:resnet18, or file.py:function.")],
    device: Annotated[list[str] | None, typer.Option(help="Shipped name or profile folder; several.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Inputs in one pass; several.")] = None,
    method: Annotated[str, typer.Option(help="Cost model.")] = "hybrid",
    input_shape: Annotated[str | None, typer.Option(help="Shape of one input, such as 3,224,224.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    training: Annotated[bool, typer.Option("--training", help="Estimate a training step's memory.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the layers, one a line.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw time and energy by layer, PNG, PDF, SVG.")] = None,
) -> None:
    """Predict what a network costs, layer by layer; several devices or batch sizes are compared."""
    from hwopt.network import load_model, trace, training_memory_bytes
    from hwopt.predict.device import load_device, shipped_devices
    from hwopt.report import prediction as report

    name, module, default_shape = load_model(model)
    shape = _parse_shape(input_shape) if input_shape else default_shape
    if shape is None:
        raise InvalidInput(f"{model}: its input shape is not known; give --input-shape 3,224,224")
    names = device or list(shipped_devices())[:1]
    if not names:
        raise InvalidInput("no device profile is shipped; give --device with the folder of a profile")
    devices = {one: load_device(one) for one in names}
    if len({loaded.name for loaded in devices.values()}) == len(devices):  # else by what the user called them
        devices = {loaded.name: loaded for loaded in devices.values()}
    graphs = {batch: trace(module, shape, batch) for batch in dict.fromkeys(batch_size or [1])}
    steps = {batch: training_memory_bytes(module, shape, batch) if training else None for batch in graphs}
    predictions = [
        report.Predicted(name, label, batch, shape, loaded.predict(graph, method), steps[batch])
        for label, loaded in devices.items()
        for batch, graph in graphs.items()
    ]
    _write_prediction(predictions, csv_file, figure)
    if as_json:
        print(report.prediction_json(predictions))
        return
    if len(predictions) > 1:
        console.print(report.comparison_table(predictions))
    for one in predictions:
        if len(predictions) == 1:
            console.print(report.prediction_table(one))
        else:
            console.print(f"\n{one.device}, batches of {one.batch_size}", highlight=False)
        for line in report.prediction_lines(one.prediction) + report.training_lines(one):
            console.print(line, highlight=False)


@app.command()
def validate(
    rows: Annotated[Path | None, typer.Argument(help="Layer rows, CSV; or give --device.")] = None,
    device: Annotated[str | None, typer.Option(help="Shipped name or profile folder.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Cost model; may be given several times.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation over distinct layers.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write the tables into, CSV.")] = None,
) -> None:
    """Show how far cost models are from measured layers, and from a device's measured networks."""
    from hwopt.predict.device import load_device
    from hwopt.predict.validation import METHODS, read_rows, validate_device, validate_rows
    from hwopt.report.validation import layer_tables, network_tables, write_errors

    if (rows is None) == (device is None):
        raise InvalidInput("give either a file of layer rows or --device with a name or a profile folder")
    methods = tuple(dict.fromkeys(method or METHODS))
    notes: list[str] = []
    if device is not None:
        loaded = load_device(device)
        layers, networks = validate_device(loaded, methods, folds, seed)
        files, tables = (
            {"layers.csv": layers, "networks.csv": networks},
            network_tables(loaded.name, networks),
        )
        notes += dict.fromkeys(note for one in methods for note in loaded.model(one).notes)
    else:
        assert rows is not None
        layers = validate_rows(read_rows(rows, notes), methods, folds, seed)
        files, tables = {"layers.csv": layers}, []
    for table in [*layer_tables(layers), *tables]:
        console.print(table)
    for note in notes:
        console.print(f"* {note}", highlight=False)
    if out is not None:
        written = write_errors(out, files)
        console.print(f"written: {', '.join(str(path) for path in written)}", highlight=False)


@app.command()
def search(
    experiment: Annotated[Path, typer.Argument(help="Experiment file, TOML.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results; results/NAME if absent.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trainings, instead of the file's number.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the file's.")] = None,
) -> None:
    """Search for networks within budgets; the same command again goes on where it was."""
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment import load_experiment
    from hwopt.study.search import measure_front, open_search, retrain_front

    loaded = load_experiment(experiment)
    changes = {"n_trials": trials, "jobs": jobs, "seed": seed}
    loaded = loaded.changed(**{key: value for key, value in changes.items() if value is not None})
    folder = out or Path("results") / experiment.stem
    with _interruptible("finished trials") as check, ProgressDisplay(console) as progress:
        opened = open_search(loaded, folder, progress)
        with opened.study:
            _print_setting(opened)
            listener = _Listener(progress, opened, loaded.n_trials, check)
            reason = opened.study.run(loaded.n_trials, loaded.jobs, listener)
            console.print(f"search ended: {reason}", highlight=False)
            retrain_front(opened, progress)
            if loaded.verify.measure:
                measure_front(opened, progress)
    _write_report(folder / "study.db", folder)
    _check_completed(folder / "study.db")


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="A study.db.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the study's own if absent.")] = None,
    rank: Annotated[str | None, typer.Option(help="Rank the front by epr: error^alpha x energy.")] = None,
    alpha: Annotated[float, typer.Option(min=0.0, help="How much the error counts in --rank epr.")] = 1.0,
) -> None:
    """Print a study's front and write its tables and figure; also while the study runs."""
    _write_report(study, out or study.parent)
    if rank is not None:
        _write_ranking(study, out or study.parent, rank, alpha)


class _Listener:
    """Shows how trials go, with the best error so far."""

    def __init__(
        self, progress: "ProgressDisplay", search: "Search", n_trials: int, check: Callable[[], None]
    ) -> None:
        self._progress, self._n_trials, self._check = progress, n_trials, check
        ended = [trial for trial in search.study.trials() if trial.told is not None]
        self._n_ended = len(ended)
        self._errors = [t.error for t in ended if t.error is not None and t.is_feasible]

    def __call__(self, event: str, trial: "Trial") -> None:
        self._check()
        if event == "end":
            self._n_ended += 1
            if trial.error is not None and trial.is_feasible:
                self._errors.append(trial.error)
            if trial.status == "failed":
                self._progress.note(f"trial {trial.number} failed: {trial.reason}")
        best = f"best error {min(self._errors):.2%}" if self._errors else "none finished yet"
        doing = f"trial {trial.number}, epoch {len(trial.curve)}"
        self._progress("training", self._n_ended, self._n_trials, f"{doing}, {best}")


def _print_setting(search: "Search") -> None:
    """Say how well the device is predicted, and how much of the space the budgets leave."""
    from hwopt.predict.hyperpower import HyperPower
    from hwopt.report.prediction import validation_table
    from hwopt.report.units import format_quantity

    costs = search.study.optimizer.costs
    if isinstance(costs, HyperPower):
        for line in costs.lines():
            console.print(line, highlight=False)
    else:
        console.print(validation_table(search.device, search.experiment.device.method))
    for budget in search.budgets:
        limit = format_quantity(budget.metric, budget.limit)
        console.print(
            f"budget: {budget.metric} <= {limit} with confidence {budget.confidence:g}", highlight=False
        )
    region = search.study.survey()
    broken = ", ".join(f"{metric} breaks in {n / region.n_priced:.0%}" for metric, n in region.broken.items())
    console.print(
        f"{region.share:.1%} of the space keeps the budgets ({region.n_priced} configurations priced"
        f"{'; ' + broken if broken else ''})",
        highlight=False,
    )


def _check_measured(profile: "DeviceProfile") -> None:
    """Raise InvalidInput, with the first reason, where no operator has a time."""
    if len(profile.layers) and not len(profile.measured_layers):
        reason = profile.layers["time_reason"].iloc[0]
        advice = "stop what else runs here and give the same command, or --busy accept"
        raise InvalidInput(
            f"none of {len(profile.layers)} operators has a time; the first: {reason}; {advice}"
        )


def _check_completed(study: Path) -> None:
    """Raise StudyError, with the first reason, where every training failed."""
    from hwopt.study.store import Store

    with Store(study, read_only=True) as store:
        trials = store.trials()
    if trials and all(trial.status == "failed" for trial in trials):
        raise StudyError(f"all {len(trials)} trainings failed; the first: {trials[0].reason}")


def _write_report(study: Path, folder: Path) -> None:
    from hwopt.report.study import write_report
    from hwopt.study.store import Store

    with Store(study, read_only=True) as store:
        if "identity" not in store.meta():
            raise StudyError(f"{study} holds no trials yet")
        for part in write_report(store, folder):
            console.print(part, highlight=False)


def _write_prediction(predictions: "list[Predicted]", csv_file: Path | None, figure: Path | None) -> None:
    from hwopt.report.prediction import layer_rows
    from hwopt.report.prediction_figure import draw_layers, layer_bars
    from hwopt.report.tables import write_csv

    if csv_file is not None:
        write_csv(csv_file, layer_rows(predictions))
    if figure is not None:
        draw_layers(layer_bars(predictions), figure)


def _write_ranking(study: Path, folder: Path, rank: str, alpha: float) -> None:
    from hwopt.report.ranking import batch_size, ranking_rows, ranking_table
    from hwopt.report.tables import write_csv
    from hwopt.study.store import Store

    with Store(study, read_only=True) as store:
        rows, n_items = ranking_rows(store, rank, alpha), batch_size(store)
    console.print(ranking_table(rows, alpha, n_items is not None))
    write_csv(folder / "ranking.csv", rows)
    console.print(f"written to {folder}: ranking.csv", highlight=False)


def _parse_duration(text: str) -> float:
    """Return seconds from '90', '90s', '9m' or '1h'."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidInput(f"budget {text!r} is no duration; write 90s, 9m or 1h")
    return seconds


def _parse_shape(text: str) -> tuple[int, ...]:
    """Return a shape from '3,224,224'."""
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InvalidInput(f"input shape {text!r} is no shape; write 3,224,224")
    return shape
