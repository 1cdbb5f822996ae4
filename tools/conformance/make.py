"""Makes the conformance fixtures, checks that the checked-in ones are what this script makes, or searches prompts.

Owns the command line and the progress lines. Each step of the work has its own module.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import adjusted
import compare
import fixture
import logprobs
import prompts
import reference
import slow
import table
import walk
from cases import CASES
from folder import write_json

FIXTURES = Path(__file__).parent / "fixtures"
README = Path(__file__).parent / "README.md"


def main():
    options = parse_options()
    if options.search:
        return search(options.names)
    if options.slow:
        slow.write_slow(options.slow)
        return 0
    if options.check:
        return check(options.names)
    make(FIXTURES, options.names)
    table.write_table(README, FIXTURES)
    return 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="cases to handle; all when none is named")
    parser.add_argument("--check", action="store_true", help="make in a temporary folder and compare")
    parser.add_argument("--search", action="store_true", help="pick prompts anew and write picks.json (minutes)")
    parser.add_argument("--slow", type=Path, metavar="FOLDER", help="write the SLOW model, too large to check in")
    return parser.parse_args()


def make(root, names):
    for case in wanted(CASES, names):
        path = root / case.name
        fixture.write_model(case, path)
        expected = fixture.write_expected(case, path, prompts.chosen(case))
        if case.name == adjusted.CASE:
            adjusted.write_adjusted(path, prompts.chosen(case))
        if case.name == logprobs.CASE:
            logprobs.write_logprobs(path, prompts.chosen(case))
        margin = min(entry["min_margin"] for entry in expected["prompts"])
        report(path, f"{len(expected['prompts'])} prompts, smallest margin {margin:.1e}")
    for model in wanted(walk.WALKS, names):
        path = root / model.name
        count = walk.write_walk(model, path)
        report(path, f"{count} walks")


def check(names):
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary), names)
        differences = compare.compare_folders(FIXTURES, Path(temporary), names)
    for difference in differences:
        print(f"differs: {difference}", file=sys.stderr)
    print("fixtures differ from what the script makes" if differences else "fixtures are what the script makes")
    return 1 if differences else 0


def search(names):
    picks, cases = prompts.read_picks(), wanted(CASES, names)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        for case, found in zip(cases, workers.map(search_case, cases), strict=True):
            picks[case.name] = {length: number for length, (number, _margin) in found.items()}
            margins = ", ".join(f"{length}: {margin:.1e}" for length, (_number, margin) in found.items())
            print(f"{case.name:18} margins {margins}", flush=True)
            write_json(prompts.PICKS, picks)
    return 0


def search_case(case):
    with tempfile.TemporaryDirectory() as temporary:
        model = fixture.write_model(case, Path(temporary))
        exact_model = reference.in_float32(fixture.load(Path(temporary)))
    return {str(length): prompts.best_candidate(case, length, model, exact_model) for length in case.lengths}


def wanted(items, names):
    return [item for item in items if not names or item.name in names]


def report(path, what):
    print(f"{path.name:18} {table.folder_size(path) / 1000:6.0f} kB  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
