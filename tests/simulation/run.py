"""Run simulated worlds.

    run.py --seed 7 [--verbose]                 one world: its story and its digest
    run.py --worlds 1000 [--start 0] [--seconds 60]

With ``--worlds`` it stops at the first failing seed and prints how to see it again. Exit code 1
on a failure.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, help="one world")
    parser.add_argument("--verbose", action="store_true", help="print the whole story")
    parser.add_argument("--worlds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seconds", type=float, help="stop after this long")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return one(arguments.seed, arguments.verbose)
    return many(arguments.start, arguments.worlds, arguments.seconds)


def one(seed: int, verbose: bool) -> int:
    world = World(seed, verbose=True)
    failure: Exception | None = None
    try:
        world.run()
    except Exception as error:
        failure = error
    shown = world.told_lines if verbose else world.told_lines[-40:]
    say("\n".join(shown))
    say(f"seed {seed}: {world.steps} events, {(world.now - world.began) / 1000:.1f} s simulated")
    say(f"digest {world.digest}")
    if failure is not None:
        say(f"FAILED: {type(failure).__name__}: {failure}")
        return 1
    return 0


def many(start: int, worlds: int, seconds: float | None) -> int:
    began = time.monotonic()
    events = done = 0
    for seed in range(start, start + worlds):
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            say(f"seed {seed} FAILED: {type(error).__name__}: {error}")
            say(f"see it again: .venv/bin/python tests/simulation/run.py --seed {seed} --verbose")
            return 1
        done += 1
        events += world.steps
        if seconds is not None and time.monotonic() - began > seconds:
            break
    took = time.monotonic() - began
    say(
        f"{done} worlds, seeds {start} to {start + done - 1}: {events} events in {took:.1f} s,"
        f" {events / took:,.0f} events/s, {done / took * 60:,.0f} worlds/minute"
    )
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
