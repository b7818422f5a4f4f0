"""Campaign on a GPU, in one or more runs of the same command: each continues where the last one ended.

    |- sensor, ceilings -|= operators | networks | held-out | repeats | reference workloads, in turns =|
    once a folder         each part for its share of the time

Rows are written as soon as they are measured, and the parts take turns, so a run that ends at any time leaves
a folder with a share of every part. Operators are measured as graphs, with their eager time; networks as
graphs, and some of them in eager mode as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwopt.errors import HwoptError
from hwopt.measure.gpu.campaign_parts import (
    HeldOutPart,
    NetworkPart,
    OperatorChoice,
    OperatorPart,
    ReferencePart,
    RepeatPart,
)
from hwopt.measure.gpu.campaign_session import CampaignSession
from hwopt.measure.gpu.part_scheduler import CampaignPart, run_in_turns
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.progress import Progress


class CampaignStopped(HwoptError):
    """The campaign cannot continue now. Measured rows are kept; the same command continues later."""


@dataclass
class GpuCampaign:
    """One run of a campaign into one folder.

    Args:
        session: folder, measurer, deadline and shares.
        choice: selects operators given the measured rows.
        specs: networks, the most important first.
        progress: called with stage, seconds done, seconds planned, message.
        further_parts: returns further parts, scheduled before those of the profile.
    """

    session: CampaignSession
    choice: OperatorChoice
    specs: Sequence[NetworkSpec]
    progress: Progress
    further_parts: Callable[[CampaignSession], Sequence[CampaignPart]] | None = None

    def run(self) -> None:
        """Measure until the time is up or nothing is left to measure."""
        with self.session as session:
            work = [*(self.further_parts(session) if self.further_parts else ()), *self._parts(session)]
            parts = [one for one in [ReferencePart(session, work), *work] if one.share > 0]
            is_done = run_in_turns(parts, session.deadline, lambda: self._report(work))
            self._report(work, "all is measured" if is_done else "time is up; the same command continues")

    def _parts(self, session: CampaignSession) -> list[CampaignPart]:
        operators = OperatorPart(session, self.choice)  # selects the first ones in the background
        networks = NetworkPart(session, self.specs)
        return [networks, operators, HeldOutPart(session, networks), RepeatPart(session, operators)]

    def _report(self, parts: Sequence[CampaignPart], message: str = "") -> None:
        deadline = self.session.deadline
        done = ", ".join(f"{part.n_done} {part.name}" for part in parts)
        seconds = min(deadline.elapsed_s, deadline.budget_s)
        self.progress("measuring", int(seconds), int(deadline.budget_s), message or done)
