"""Runs a scenario: its peers in turn, round after round, each with all its loads.

The server has one core and the client another, so that they do not take time from each other (on a machine with one core they
share it). Peers alternate (A B A B) so that drift of the machine meets all of them alike; every round starts a new process.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.machine import describe_machine, describe_versions
from bench.peers import PEERS, Peer, make_credentials, start_peer
from bench.programs import LoadFailed, LoadOptions, run_load

__all__ = ["COMMON_COLUMNS", "Column", "Effort", "Load", "Result", "Sample", "Scenario", "run_scenario"]

#: One line of the load client: see ``result`` in bench/load/run.go.
Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """One load of a scenario, with the name it has in tables."""

    name: str
    options: LoadOptions


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table: a figure of each sample; the table shows the median of the rounds."""

    title: str
    value: Callable[[Sample], float]
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question, and what to run to answer it.

    Attributes:
        name: As on the command line.
        question: One sentence, the table's heading.
        peers: Names in ``bench.peers.PEERS``; those missing on this machine are left out.
        loads: Each peer gets all of them.
        columns: Figures in the table; the raw samples keep all.
    """

    name: str
    question: str
    peers: tuple[str, ...]
    loads: tuple[Load, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    seconds: float
    warm_up_s: float


COMMON_COLUMNS = (
    Column("calls/s", lambda sample: sample["rate"]),
    Column("p50 us", lambda sample: sample["p50_us"]),
    Column("p99 us", lambda sample: sample["p99_us"]),
    Column("errors", lambda sample: sample["errors"]),
)


@dataclass(frozen=True, slots=True)
class Result:
    """The raw samples of a scenario and where they come from. Each sample also has ``peer``, ``load`` and ``round``."""

    scenario: Scenario
    about: dict[str, object]
    samples: list[Sample]

    def write(self, directory: Path) -> Path:
        """Write everything as JSON into ``directory``; return the file."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.scenario.name}-{self.about['started']}.json"
        path.write_text(json.dumps({**self.about, "samples": self.samples}, indent=1) + "\n")
        return path

    def table(self) -> str:
        """Return a Markdown table: a row for each load and peer, medians, and the spread of the first column."""
        columns = self.scenario.columns
        lines = [
            f"### {self.scenario.question}",
            "",
            f"| load | peer | {' | '.join(column.title for column in columns)} | {columns[0].title}: min-max |",
            f"|---|---|{'---:|' * (len(columns) + 1)}",
        ]
        for load in self.scenario.loads:
            for peer in dict.fromkeys(sample["peer"] for sample in self.samples):
                rounds = [sample for sample in self.samples if (sample["peer"], sample["load"]) == (peer, load.name)]
                if not rounds:
                    continue
                medians = [f"{statistics.median(map(c.value, rounds)):,.{c.digits}f}" for c in columns]
                first = [columns[0].value(sample) for sample in rounds]
                spread = f"{min(first):,.{columns[0].digits}f}-{max(first):,.{columns[0].digits}f}"
                lines.append(f"| {load.name} | {peer} | {' | '.join(medians)} | {spread} |")
        return "\n".join(lines) + "\n"


def run_scenario(scenario: Scenario, effort: Effort, *, only: Sequence[str] = (), say: Callable[[str], None]) -> Result:
    """Measure a scenario.

    Args:
        only: Names of the peers to run; all of the scenario's when empty.
        say: Takes a line of progress.
    Raises: PeerFailed: a peer does not start.
    """
    peers = [PEERS[name] for name in scenario.peers if not only or name in only]
    for peer in peers:
        if peer.missing:
            say(f"{peer.name} left out: {peer.missing}")
    peers = [peer for peer in peers if not peer.missing]
    about: dict[str, object] = {
        "scenario": scenario.name,
        "question": scenario.question,
        "started": datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ"),
        "command": ["python", "-m", "bench", *sys.argv[1:]],
        "effort": asdict(effort),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1, effort.rounds + 1):
            for peer in peers:
                for sample in _run_peer(peer, scenario.loads, effort, Path(directory)):
                    samples.append({"round": number, **sample})
                    say(f"round {number}, {peer.name}, {sample['load']}: {_brief(scenario, sample)}")
    return Result(scenario, about, samples)


def _run_peer(peer: Peer, loads: Sequence[Load], effort: Effort, directory: Path) -> list[Sample]:
    cores = sorted(os.sched_getaffinity(0))
    credentials = make_credentials(directory)
    samples: list[Sample] = []
    with start_peer(peer, credentials, _pin(cores[0])) as server:
        for load in loads:
            try:
                measured = run_load(
                    load.options,
                    protocol=peer.protocol,
                    address=server.address,
                    ca=credentials.ca,
                    seconds=effort.seconds,
                    warm_up_s=effort.warm_up_s,
                    server_pid=server.pid,
                    child_setup=_pin(cores[-1]),
                )
            except LoadFailed as error:
                raise LoadFailed(f"{peer.name}, {load.name}: {error}") from None
            samples.append({"peer": peer.name, "load": load.name, **measured})
    return samples


def _pin(core: int) -> Callable[[], None]:
    return functools.partial(os.sched_setaffinity, 0, {core})


def _brief(scenario: Scenario, sample: Sample) -> str:
    return ", ".join(f"{column.title} {column.value(sample):,.{column.digits}f}" for column in scenario.columns)
