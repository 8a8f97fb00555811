"""Compare membench with its peers on the same cells.

`python tests/benchmarks/speed.py [--json FILE] [--quick]`. Four sizes; at each, every peer trains
the cells once from a cold start, then all take turns, round after round: about 15 minutes. It uses
the cores that it is allowed to (`taskset`). `pip install -e '.[bench]'` brings the peers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import closing
from pathlib import Path

from speed_page import Measured
from speed_page import page
from speed_process import CEILING
from speed_process import MEMBENCH
from speed_process import PEERS
from speed_process import Accuracies
from speed_process import Kind
from speed_process import Team
from speed_process import cores
from speed_work import SIZES
from speed_work import WIDTH
from speed_work import Size
from speed_work import Work

PRECISIONS = {"highest": ("highest",), "medium": ("medium",), "both": ("highest", "medium")}
TURN = 3.0  #: seconds, of each peer in each round
QUICK_TURN = 0.2
TRIAL = 10  #: epochs
#: size -> peer -> membench's cell-steps a second over the peer's
Ratios = dict[str, dict[str, float | None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the ratios of the first precision."""
    options = _parse(arguments)
    turn = QUICK_TURN if options.quick else TURN
    ratios: Ratios = {}
    for precision in PRECISIONS[options.precision]:
        for name in options.sizes:
            size = SIZES[name].shortened(epochs=2) if options.quick else SIZES[name]
            measured = measure(size, options.peers, precision, options.rounds, turn)
            print(page(measured), flush=True)
            ratios.setdefault(name, measured.ratios)
    if options.json:
        options.json.write_text(json.dumps(ratios, indent=1) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [kind.name for kind in PEERS]
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write {size: {peer: ratio}}, null = not installed",
    )
    parser.add_argument(
        "--sizes", type=_some_of(SIZES), default=list(SIZES), metavar=",".join(SIZES)
    )
    parser.add_argument("--peers", type=_some_of(known), default=known, metavar=",".join(known))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="highest",
        help="of fp32 matrix products, for all",
    )
    parser.add_argument(
        "--quick", action="store_true", help="two epochs, one round: shows that it runs, no more"
    )
    options = parser.parse_args(arguments)
    options.rounds = 1 if options.quick else options.rounds
    return options


def _some_of(known: Sequence[str] | dict) -> Callable[[str], list[str]]:
    """Make the type of an option that takes some of the known names, separated by commas."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: there are {', '.join(known)}"
            )
        return chosen

    return names


def measure(size: Size, peers: Sequence[str], precision: str, rounds: int, turn: float) -> Measured:
    """Measure one size at one precision: the cold start of each peer, then the rounds.

    Args:
        size: of the network and its recipe.
        peers: names of those to compare with.
        precision: of fp32 matrix products.
        rounds: in which all peers take turns.
        turn: seconds of a peer in a round.
    """
    # It imports torch, which the processes of JAX shall not import along with this file.
    from speed_world import draw

    work = draw(size, len(cores()))
    result = Measured(work, precision, tuple(peers))
    kinds = [kind for kind in PEERS if kind.name in peers and kind.installed]
    with ExitStack() as stack:
        teams = [_cold(kind, result, stack) for kind in (*kinds, MEMBENCH, CEILING)]
        for _ in range(rounds):
            for team in teams:
                name = team.kind.name
                result.rates[name].append(rate(team, result.job_seconds[name], turn))
    return result


def _cold(kind: Kind, result: Measured, stack: ExitStack) -> Team:
    """Start a peer's processes and let them train and read all cells; they stay for the rounds."""
    lanes = kind.lanes[0] if len(kind.lanes) == 1 else fastest(kind, result.work, result.precision)
    _say(f"{result.work.size.name}, {result.precision}: {kind.name} from cold, {lanes} lanes")
    work = result.work if kind.whole else result.work.sample()
    team = Team(kind, work, result.precision, lanes)
    stack.callback(team.close)
    started = time.perf_counter()
    answers = team.ask("all")
    seconds = time.perf_counter() - started
    of_all_cells = seconds * len(result.work.cells) / len(work.cells)
    if kind.caches:
        _say(f"{result.work.size.name}, {result.precision}: {kind.name} once more, warm")
        with closing(Team(kind, work, result.precision, lanes, folder=team.folder)) as again:
            started = time.perf_counter()
            again.ask("all")
            result.warm_start_seconds[kind.name] = again.start_seconds
            result.warm_seconds[kind.name] = again.start_seconds + time.perf_counter() - started
    learned: Accuracies = {}
    for _, accuracies in answers:
        learned |= accuracies
    result.start_seconds[kind.name] = team.start_seconds
    result.cold_seconds[kind.name] = team.start_seconds + of_all_cells
    result.job_seconds[kind.name] = max(seconds for seconds, _ in answers)
    result.learned[kind.name] = learned
    result.memory[kind.name] = team.memory
    result.lanes[kind.name] = lanes
    result.rates[kind.name] = []
    return team


def fastest(kind: Kind, work: Work, precision: str) -> int:
    """Find the number of lanes at which the peer is fastest on this machine.

    Each is tried for some epochs of as many cells as fill a pack.
    """
    rates = {}
    work = work.shortened(min(TRIAL, work.size.recipe.epochs))
    for lanes in kind.lanes:
        team = Team(kind, work, precision, lanes)
        _rate(team, 1)
        rates[lanes] = _rate(team, WIDTH // lanes)
        team.close()
    tried = ", ".join(f"{lanes} lanes {rate:.0f}" for lanes, rate in rates.items())
    _say(f"  {kind.name}: {tried} cell-steps/s")
    return max(rates, key=rates.__getitem__)


def rate(team: Team, job_seconds: float, turn: float) -> float:
    """Measure cell-steps a second in a turn of about `turn` seconds.

    Every process does the same number of whole jobs.
    """
    return _rate(team, max(1, round(turn / job_seconds)))


def _rate(team: Team, jobs: int) -> float:
    started = time.perf_counter()
    steps = sum(team.ask(jobs))
    return steps / (time.perf_counter() - started)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
