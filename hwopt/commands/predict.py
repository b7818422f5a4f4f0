"""`hwopt predict`: predicted costs of networks, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.commands.console import console, parse_shape
from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    from hwopt.report.prediction import Predicted


def predict(
    model: Annotated[str, typer.Argument(help="torchvision:resnet18, or file.py:function.")],
    device: Annotated[
        list[str] | None, typer.Option(help="Shipped name or profile folder; repeatable.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Inputs in one pass; repeatable.")
    ] = None,
    method: Annotated[str, typer.Option(help="Cost model.")] = "hybrid",
    dtype: Annotated[str, typer.Option(help="Type of weights and input, as in the profile.")] = "float32",
    precision: Annotated[
        str | None,
        typer.Option(help="Required of the profile: default (TF32 on a GPU), ieee or bfloat16."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="eager, operator by operator; or graph, as a CUDA graph.")
    ] = "eager",
    input_shape: Annotated[str | None, typer.Option(help="Shape of one input, such as 3,224,224.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    training: Annotated[bool, typer.Option("--training", help="Estimate a training step's memory.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the layers as CSV.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw time and energy by layer, PNG, PDF or SVG.")
    ] = None,
) -> None:
    """Predict the costs of a network, layer by layer; compare several devices or batch sizes.

    Example: hwopt predict torchvision:resnet18 --batch-size 8
    """
    from hwopt.network import load_model, trace, training_memory_bytes
    from hwopt.predict.device import load_device, shipped_devices
    from hwopt.report import prediction as report

    name, module, default_shape = load_model(model)
    shape = parse_shape(input_shape) if input_shape else default_shape
    if shape is None:
        raise InvalidInput(f"{model}: unknown input shape; give --input-shape 3,224,224")
    names = device or list(shipped_devices())[:1]
    if not names:
        raise InvalidInput("no device profile is shipped; give --device with the folder of a profile")
    devices = {one: load_device(one) for one in names}
    if len({loaded.name for loaded in devices.values()}) == len(devices):  # else the names that the user gave
        devices = {loaded.name: loaded for loaded in devices.values()}
    graphs = {
        batch: trace(module, shape, batch, dtype, n_traces=2) for batch in dict.fromkeys(batch_size or [1])
    }
    steps = {batch: training_memory_bytes(module, shape, batch) if training else None for batch in graphs}
    predictions = [
        report.Predicted(
            name, label, batch, shape, loaded.predict(graph, method, mode, precision), steps[batch], mode
        )
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


def _write_prediction(predictions: "list[Predicted]", csv_file: Path | None, figure: Path | None) -> None:
    from hwopt.report.analysis.layers import layer_breakdown, named
    from hwopt.report.draw.layers import matplotlib_layers
    from hwopt.report.draw.style import save
    from hwopt.report.prediction import layer_rows
    from hwopt.report.tables import write_csv

    if csv_file is not None:
        write_csv(csv_file, layer_rows(predictions))
    if figure is not None:
        save(matplotlib_layers(layer_breakdown(named(predictions)), predictions[0].network), figure)
