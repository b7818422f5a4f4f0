"""Figures as functions: both backends, studies of every kind, and what is refused."""

import pytest
from matplotlib.figure import Figure

import hwopt
from hwopt import InvalidInput, UnknownName, plot
from hwopt.study.store.store import Store
from tests.report.analysis.stores import identity, trial, write

OF_ONE = ["front", "history", "learning_curves", "parallel", "importance", "calibration"]
FALLING = [
    trial(i, 0.1 + 0.02 * i, {"time_s": 1e-3 * (20 - i), "power_w": 9.0}, curve=(0.9, 0.1 + 0.02 * i))
    for i in range(6)
]
STUDIES = {
    "nothing": [],
    "one": [trial(0, curve=(0.2, 0.1))],
    "failed": [trial(0, None, status="failed", reason="<b>$x$</b>")],
    "many": [
        *FALLING, trial(12, 0.8, status="stopped", curve=(0.9, 0.8)), trial(13, 0.05, is_feasible=False),
        trial(14, None, status="failed"), trial(15, None, status="running", told=None, curve=(0.4,)),
        trial(16, 0.1, {"time_s": float("nan")}), trial(17, 0.5, {"time_s": 0.02}),
    ],
    "no_costs": [trial(i, 0.1 * (i + 1), {}) for i in range(3)],
    "loss": [trial(i, 2.0 + i, {"time_s": 1e-3}) for i in range(3)],
}  # fmt: skip
OBJECTIVES = {"no_costs": ("error",)}


@pytest.fixture(scope="module", params=STUDIES)
def study(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "study.db"
    one = identity(OBJECTIVES.get(request.param, ("error", "time_s")), {"time_s": 0.03})
    reference = {name: 1.0 for name in one["objectives"]}
    write(path, STUDIES[request.param], reference=reference, identity=one)
    return path


@pytest.mark.parametrize("name", OF_ONE)
def test_every_figure_of_every_study_is_drawn_by_both_backends(study, name):
    figure = getattr(hwopt.plot, name)(study)
    assert figure.to_json()
    drawn = getattr(plot, name)(study, backend="matplotlib")
    assert isinstance(drawn, Figure)
    drawn.canvas.draw()


def test_the_front_tells_fates_apart_by_shape_and_numbers_its_networks(tmp_path):
    write(tmp_path / "study.db", STUDIES["many"], identity=identity(budgets={"time_s": 0.03}))
    with Store(tmp_path / "study.db") as store:
        store.add_check(5, "measured", 0, {"time_s": 9.1e-3})
        store.add_check(5, "retrained", 1, {"error": 0.3, "test_error": 0.33})
    figure = plot.front(tmp_path / "study.db")
    symbols = {trace.name: trace.marker.symbol for trace in figure.data if trace.mode.startswith("markers")}
    assert len(set(symbols.values())) == len(symbols) == 8
    front = next(trace for trace in figure.data if trace.name == "front (6)")
    assert set(front.text) == {str(i) for i in range(6)}
    assert "depth = " in front.hovertext[0] and (front.meta, front.customdata[0]) == (tmp_path.name, 0)
    assert {"measured time (1)", "test error on fresh seeds (1)", "stopped early (1)", "failed (1)"} <= set(
        symbols
    )


def test_names_and_values_are_shown_as_they_are_and_never_as_markup(tmp_path):
    bad = "<script>alert(1)</script> $x_1$ &amp;"
    dimensions = [{"type": "Categorical", "name": bad, "choices": [bad, "b"], "weights": [0.5, 0.5]}]
    trials = [trial(i, 0.1 + 0.01 * i, config={bad: "b" if i % 2 else bad}) for i in range(12)]
    path = tmp_path / "<img src=x> $y$" / "study.db"
    write(path, trials, identity=identity(dimensions=dimensions))
    for name in OF_ONE:
        figure = getattr(plot, name)(path)
        figure.update_traces(meta=None)  # it is never shown
        text = figure.to_json().replace("\\u003c", "<")
        assert "<script" not in text and "<img" not in text
        getattr(plot, name)(path, backend="matplotlib").canvas.draw()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x_1$ &amp;amp;" in plot.front(path).data[-1].hovertext[0]


def test_studies_are_compared_in_one_figure(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.db", STUDIES["many"], reference={"error": 1.0, "time_s": 1.0})
    paths = [tmp_path / "a.db", tmp_path / "b.db"]
    front, progress = plot.front(paths), plot.history(paths, x="epochs", y="lowest_error")
    assert {trace.name for trace in progress.data} == {"a", "b"}
    colors = {trace.name: trace.marker.color for trace in front.data if "front" in (trace.name or "")}
    assert len(set(colors.values())) == 2
    plot.front(paths, backend="matplotlib").canvas.draw()
    with pytest.raises(InvalidInput, match="this figure takes one study; got 2"):
        plot.parallel(paths)


def test_what_does_not_exist_is_refused_with_the_nearest(tmp_path):
    write(tmp_path / "study.db", STUDIES["one"])
    with pytest.raises(UnknownName, match="no backend 'plotli'; did you mean plotly"):
        plot.front(tmp_path / "study.db", backend="plotli")
    with pytest.raises(InvalidInput, match="no axis 'epoch'; did you mean epochs"):
        plot.history(tmp_path / "study.db", x="epoch")
    with pytest.raises(InvalidInput, match="no target 'eror'; did you mean error"):
        plot.importance(tmp_path / "study.db", "eror")
    with pytest.raises(InvalidInput, match="layers: nothing to draw"):
        plot.layers({})
