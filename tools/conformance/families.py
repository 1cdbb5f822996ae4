"""Makes the family fixtures, checks that the checked-in ones are what this script makes, or makes new random models.

Owns the command line. `family_cases` lists the models, `random_cases` makes new ones.
"""

import argparse
import json
import sys
from pathlib import Path

import compare
import family_fixture
import random_cases
from family_cases import CASES
from folder import write_json

FOLDER = Path(__file__).parent / "families"


def main():
    options = parse_options()
    if options.seed is not None:
        return make_random(options.seed, options.out)
    cases = [case for case in CASES if not options.names or case.name in options.names]
    differing = [case.name for case in cases if not handle(case, options.check)]
    for name in differing:
        print(f"differs: {name}", file=sys.stderr)
    return 1 if differing else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="cases to handle; all when none is named")
    parser.add_argument("--check", action="store_true", help="compare with the checked-in files instead of writing them")
    parser.add_argument("--seed", type=int, help="make random models from this seed instead, into --out")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER")
    return parser.parse_args()


def handle(case, is_check):
    made = family_fixture.make(case)
    path = FOLDER / f"{case.name}.json"
    if is_check:
        return path.exists() and compare.same_value(json.loads(path.read_text()), made)
    FOLDER.mkdir(exist_ok=True)
    write_json(path, made, indent=None)
    margin = min(entry["min_margin"] for entry in made["prompts"])
    print(f"{case.name:18} {path.stat().st_size / 1000:5.1f} kB, smallest margin {margin:.1e}", flush=True)
    return True


def make_random(seed, out):
    out.mkdir(parents=True, exist_ok=True)
    for case in random_cases.draw(seed):
        made = family_fixture.make(case, is_live=True)
        write_json(out / f"{case.name}.json", made, indent=None)
        lengths = ", ".join(str(len(entry["greedy_tokens"])) for entry in made["prompts"])
        print(f"{case.name:18} clear tokens after its prompts: {lengths}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
