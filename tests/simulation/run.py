"""Run simulated worlds.

    run.py --seed 7 [--verbose]          one world: its story and its digest
    run.py --worlds 1000 [--start 0]     many, in as many processes as there are processors
    run.py --forever [--start 0]         until stopped (Ctrl-C), with a line now and then

Many worlds stop at the first that fails and say how to see it again. Exit code 1 on a failure.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context

from tests.simulation.world import World

ROUND = 500  # worlds handed to the pool before it is waited for: it would take an endless count
AT_A_TIME = 5  # of them handed to a process
PROGRESS_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, help="one world")
    parser.add_argument("--verbose", action="store_true", help="print the whole story")
    parser.add_argument("--worlds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--forever", action="store_true", help="until stopped")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="one for each processor"
    )
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return one(arguments.seed, arguments.verbose)
    start, count = arguments.start, arguments.worlds
    seeds = itertools.count(start) if arguments.forever else range(start, start + count)
    try:
        return many(seeds, arguments.processes)
    except KeyboardInterrupt:
        return 0


def one(seed: int, verbose: bool) -> int:
    world = World(seed, verbose=True)
    failure: BaseException | None = None
    try:
        world.run()
    except Exception as error:
        failure = error
    say("\n".join(world.told_lines if verbose else world.told_lines[-40:]))
    say(f"seed {seed}: {world.steps} events, {(world.now - world.began) / 1000:.1f} s simulated")
    say(f"digest {world.digest}")
    if failure is not None:
        say(f"FAILED: {type(failure).__name__}: {failure}")
        return 1
    return 0


def many(seeds: Iterable[int], processes: int) -> int:
    began = shown = time.monotonic()
    done = events = 0
    rest = iter(seeds)
    # Not forked: a child must not inherit the threads of a world.
    with get_context("spawn").Pool(processes, _leave_ctrl_c_to_the_parent) as pool:
        while some := list(itertools.islice(rest, ROUND)):
            for seed, steps, failure in pool.imap_unordered(_world, some, AT_A_TIME):
                if failure:
                    say(f"seed {seed} FAILED: {failure}")
                    say(f"see it again: make sim SEED={seed}")
                    return 1
                done, events = done + 1, events + steps
                now = time.monotonic()
                if now - shown > PROGRESS_S:
                    shown = now
                    say(_summary(done, events, now - began))
    say(_summary(done, events, time.monotonic() - began))
    return 0


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _world(seed: int) -> tuple[int, int, str]:
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        return seed, world.steps, f"{type(error).__name__}: {error}"
    return seed, world.steps, ""


def _summary(worlds: int, events: int, seconds: float) -> str:
    return (
        f"{worlds} worlds, {events} events in {seconds:.0f} s:"
        f" {worlds / seconds * 60:,.0f} worlds/minute"
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
