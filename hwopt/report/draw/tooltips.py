"""Tooltips of trials in plotly's figures."""

from collections.abc import Sequence
from typing import Any

from hwopt.report.analysis.describe import describe_trial
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.style import hover


def with_tooltips(figure: Any, studies: Sequence[StudyData]) -> Any:
    """Give the points of trials the description of their trial as tooltip, and return the figure.

    Points of trials are in traces whose `meta` is the name of their study, `customdata` the numbers of the
    trials. A figure of matplotlib stays as it is. The page has its descriptions once and does this itself.
    """
    named = {study.name: study for study in studies}
    for trace in getattr(figure, "data", ()):
        study = named.get(trace.meta)
        if study is not None:
            numbers = [int(number) for number in trace.customdata]
            texts = {n: hover(describe_trial(study, study.by_number[n])) for n in set(numbers)}
            trace.hovertext = [texts[number] for number in numbers]
    return figure
