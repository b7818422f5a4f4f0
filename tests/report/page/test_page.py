"""The page as text: one file, no requests, nothing that a name or value could make run."""

import csv
import io
import json
import re
from functools import partial

import pytest

from hwopt.errors import InvalidInput
from hwopt.report.analysis.budgets import budget_report
from hwopt.report.analysis.study_data import read_studies
from hwopt.report.page.content import Networks, budget_lines, content_of
from hwopt.report.page.render import render, write_page
from tests.report.analysis.stores import identity, read, trial, write
from tests.test_plot import OBJECTIVES, STUDIES

BAD = "</script><script>alert(1)</script>&'\""


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    dimensions = [{"type": "Categorical", "name": BAD, "choices": [BAD, "b"], "weights": [0.5, 0.5]}]
    trials = [trial(i, 0.1 + 0.01 * i, config={BAD: BAD}) for i in range(3)]
    trials.append(trial(3, None, status="failed", reason=BAD, config={BAD: "b"}))
    path = tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(2)>" / "study.db"
    one = identity(dimensions=dimensions) | {"description": {"data": {"name": BAD}}}
    write(path, trials, reference={"error": 1.0, "time_s": 1.0}, identity=one, ended=BAD)
    return render(read_studies(path))


def test_names_and_values_never_end_an_element_or_open_one(hostile):
    assert hostile.count("<script") == 3 and hostile.count("</script>") == 3
    assert "<img" not in hostile.replace(hostile_plotly(hostile), "")
    assert data_of(hostile)["texts"][0]["0"][-1] == f"{BAD} = {BAD}"


def hostile_plotly(page: str) -> str:
    return max(re.findall(r"<script>(.*?)</script>", page, re.S), key=len)


def test_the_policy_allows_the_two_scripts_by_digest_and_no_connection(hostile):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', hostile)[1]
    assert policy.startswith("default-src 'none'") and "connect-src 'none'" in policy
    script = re.search(r"script-src ([^;]*)", policy)[1]
    assert script.count("sha256-") == 2 and "unsafe" not in script
    assert not re.search(r'(src|href)="(?!data:|#)', hostile.replace(hostile_plotly(hostile), ""))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_page_with_all_sections(tmp_path, name):
    one = identity(OBJECTIVES.get(name, ("error", "time_s")), {"time_s": 0.03})
    study = read(
        tmp_path / "study.db", STUDIES[name], identity=one, reference=dict.fromkeys(one["objectives"], 1.0)
    )
    page = render([study])
    for heading in (
        "Front",
        "Progress",
        "Learning curves",
        "Importance",
        "Budgets",
        "Network by layers",
        "Origin",
    ):
        assert heading in page
    blocks = data_of(page)["blocks"]
    for block in blocks.values():
        assert set(block["tables"]) == set(block["figures"])
        for choice in block["choices"]:
            assert set(choice["options"]) in ({""}, {"0"})


@pytest.mark.parametrize("n_costs", [3, 4])
def test_studies_of_several_objectives_have_a_front_for_each_cost(tmp_path, n_costs):
    costs = {"time_s": 1e-3, "energy_j": 1e-2, "memory_bytes": 1e6, "power_w": 9.0}
    names = tuple(costs)[:n_costs]
    one = identity(("error", *names))
    trials = [trial(i, 0.1 * (i + 1), {k: v / (i + 1) for k, v in costs.items()}) for i in range(4)]
    reference = {"error": 1.0, **{name: 2 * costs[name] for name in names}}
    page = data_of(render([read(tmp_path / "study.db", trials, identity=one, reference=reference)]))
    assert list(page["blocks"]["front"]["figures"]) == list(costs)
    assert page["blocks"]["history"]["choices"][1]["options"][""][0][0] == "hypervolume"


def test_studies_stand_side_by_side_and_each_has_its_figures(tmp_path):
    studies = [read(tmp_path / f"{name}.db", STUDIES["many"]) for name in ("a", "b")]
    page = render(studies)
    data = data_of(page)
    assert data["studies"] == ["a", "b"] and '<select id="study">' in page
    assert list(data["blocks"]["curves"]["figures"]) == ["0", "1"]
    assert re.search(r'<th scope="col">a</th><th scope="col">b</th>', page)


def test_the_data_of_a_figure_is_a_table(tmp_path):
    study = read(tmp_path / "study.db", STUDIES["many"])
    table = data_of(render([study]))["blocks"]["front"]["tables"]["time_s"]
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == len(study.trials) and rows[0]["cost"] == "0.02" and rows[0]["error"] == "0.1"


def test_descriptions_of_trials_are_there_once_whatever_the_number_of_costs(tmp_path):
    study = read(tmp_path / "study.db", STUDIES["many"])
    page = render([study])
    assert page.count("trial 5: front") == 1
    assert '"hovertext":["trial' not in json.dumps(data_of(page)["blocks"]["front"])


def test_a_budget_is_described_in_words(tmp_path):
    one = identity(budgets={"time_s": 0.02})
    freed = {
        "time_s": {
            "share": 0.05,
            "configs": [{"depth": 2, "rate": 0.5, "pool": "max"}],
            "costs": [{"time_s": 0.021}],
        }
    }
    region = {"n_priced": 100, "share": 0.4, "broken": {"time_s": 60}, "freed": freed}
    trials = STUDIES["many"][:6]
    reference = {"error": 1.0, "time_s": 0.02}
    study = read(tmp_path / "study.db", trials, identity=one, region=region, reference=reference)
    block = next(block for block in content_of([study], [Networks()]).blocks if block.name == "budgets")
    line = block.notes["0"][0]
    assert line.startswith(
        "time ≤ 20 ms with confidence 0.9; 60.0% of the space is over it; the front uses up to 100%"
    )
    assert "10% more would allow 5.0% of the space besides the feasible 40.0%" in line
    assert "expected gain in hypervolume of the best training there" in line
    assert budget_lines(budget_report(read(tmp_path / "b.db", []))) == ["This study has no budgets."]


def test_a_file_that_cannot_be_written_is_explained(tmp_path):
    study = read(tmp_path / "study.db", [trial(0)])
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match="cannot write: .*choose another --html"):
        write_page([study], tmp_path / "taken" / "report.html")


@pytest.fixture
def run(command_line):
    return partial(command_line, "report")


def test_the_command_writes_the_page_of_several_studies(run, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "study.db", STUDIES["many"][:3])
    code, out, _ = run(tmp_path / "a", tmp_path / "b" / "study.db", "--html", tmp_path / "report.html")
    assert code == 0 and "a: Layers cannot be predicted: " in out
    assert "was made in Python, without an experiment file" in out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert not (tmp_path / "a" / "front.csv").exists()


def test_the_command_writes_every_figure_with_its_data(run, tmp_path):
    write(tmp_path / "study.db", STUDIES["one"])
    assert run(tmp_path / "study.db", "--figures", tmp_path / "figures")[0] == 0
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    names = ("front_time_s", "history_trainings", "learning_curves", "parallel", "importance")
    assert {f"{name}.{ending}" for name in names for ending in ("png", "svg", "csv")} <= written


def test_what_the_command_cannot_do_ends_with_code_2(run, tmp_path):
    write(tmp_path / "study.db", [trial(0)])
    paths = (tmp_path / "study.db", tmp_path / "study.db")
    code, _, err = run(*paths, "--out", tmp_path)
    assert code == 2 and "--out takes one study" in err
    code, _, err = run(tmp_path / "absent.db", "--html", tmp_path / "r.html")
    assert code == 2 and "no study at" in err and not (tmp_path / "r.html").exists()
