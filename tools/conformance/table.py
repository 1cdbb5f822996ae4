"""The table of fixtures in README.md, made from the fixtures themselves.

Owns the text between the two markers, so that sizes and margins in the README come from the fixtures.
"""

import json

import walk
from cases import CASES

BEGIN, END = "<!-- fixtures: begin -->\n", "<!-- fixtures: end -->\n"


def write_table(readme, fixtures):
    before, rest = readme.read_text().split(BEGIN)
    _old, after = rest.split(END)
    readme.write_text(before + BEGIN + "\n".join(table_lines(fixtures)) + "\n" + END + after)


def table_lines(fixtures):
    lines = ["| fixture | kB | dtype | prompts | least margin | tolerance | shows |", "|---|---|---|---|---|---|---|"]
    lines += [case_line(fixtures / case.name) for case in CASES]
    for model in walk.WALKS:
        path = fixtures / model.name
        names = ", ".join(entry["name"] for entry in json.loads((path / "walk.json").read_text())["walks"])
        lines.append(f"| `{path.name}` | {kilobytes(path)} | float16 | | | | walks: {names} |")
    total = sum(folder_size(path) for path in fixtures.iterdir())
    return [*lines, f"| total | {total / 1000:.0f} | | | | | |"]


def case_line(path):
    expected = json.loads((path / "expected.json").read_text())
    prompts = expected["prompts"]
    lengths = ", ".join(str(entry["length"]) for entry in prompts)
    margin = min(entry["min_margin"] for entry in prompts)
    tolerance = max(entry["tolerance"] for entry in prompts)
    figures = f"{kilobytes(path)} | {expected['dtype']} | {lengths} | {margin:.1e} | {tolerance:.1e}"
    return f"| `{path.name}` | {figures} | {expected['shows']} |"


def kilobytes(path):
    return f"{folder_size(path) / 1000:.0f}"


def folder_size(path):
    return sum(file.stat().st_size for file in path.iterdir())
