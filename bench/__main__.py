"""``python -m bench [SCENARIO...] [--quick] [--repeat N] [--out DIR]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.harness import Effort, run_scenario
from bench.peers import PEERS, PeerFailed
from bench.programs import GO_MISSING, LoadFailed
from bench.scenarios import load_scenarios


def main() -> int:
    """Run the scenarios asked for; print progress on standard error and tables on standard output."""
    scenarios = load_scenarios()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure quicrpc beside its peers.",
        epilog="scenarios: " + "; ".join(f"{name}: {scenario.question}" for name, scenario in scenarios.items()),
    )
    parser.add_argument("scenario", nargs="*", help="which to run; all if none is given")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that everything runs, not how fast")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=4, metavar="S", help="measured time of each load (default 4)")
    parser.add_argument("--peer", action="append", default=[], choices=sorted(PEERS), help="only this peer; may be repeated")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", metavar="DIR", help="where samples go")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenario) - set(scenarios):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    if GO_MISSING:
        parser.error(GO_MISSING)
    effort = Effort(arguments.repeat, arguments.seconds, warm_up_s=1)
    if arguments.quick:
        effort = Effort(rounds=1, seconds=0.5, warm_up_s=0.2)
    try:
        for name in arguments.scenario or scenarios:
            result = run_scenario(scenarios[name], effort, only=arguments.peer, say=_say)
            _say(f"samples: {result.write(arguments.out).name}")
            print(result.table(), flush=True)
    except (LoadFailed, PeerFailed) as error:
        _say(f"bench: {error}")
        return 1
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
