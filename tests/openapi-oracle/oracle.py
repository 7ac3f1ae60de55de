"""Compares the requests of our tools with those of Schemathesis, case by case. Run by scripts/openapi-oracle.sh."""

import argparse
import json
import os
import pathlib
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from arguments import ToolArguments
from calls import MOST_CALLS, ToolCall, call_all, tools_of
from cases import CaseGenerator
from excuses import EXCUSES, excuse_for

PROGRAM = os.environ["FASTAGENCY_BIN"]


class Row(NamedTuple):
    """What came of a specification."""

    name: str
    operations: int
    without_cases: int
    cases: int
    equal: int
    excused: int
    excuses: Counter
    reports: list[str]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {name}" for name, count in self.excuses.most_common())
        operations = f"{self.operations:>6} operations ({self.without_cases} without cases)"
        outcomes = f"{self.cases:>6} cases {self.equal:>6} equal {len(self.reports):>4} different {self.excused:>5} excused"
        return f"{self.name:<24}{operations}{outcomes}{f': {reasons}' if reasons else ''}"


def compared(specification: pathlib.Path, count: int, seed: int) -> Row:
    """Makes the cases of a specification, calls its tools, and compares."""
    generator = CaseGenerator(specification, count, seed)
    operations = {(one.method.upper(), one.path): one for one in generator.operations()}
    made = {place: generator.cases(operation) for place, operation in operations.items()}
    tools = {tool["name"]: tool for tool in tools_of(PROGRAM, specification)}
    place_of = {name: (tool["method"], tool["path"]) for name, tool in tools.items()}
    reports = [f"{method} {path}: is no tool" for method, path in operations.keys() - set(place_of.values())]

    def calls_of(function: dict) -> list[ToolCall]:
        name = function["name"]
        arguments = ToolArguments(operations[place_of[name]], function["parameters"])
        return [ToolCall.of_case(tools[name], arguments, case) for case in made[place_of[name]]]

    names = [name for name, place in place_of.items() if made.get(place)]
    size = MOST_CALLS // count
    groups = [names[at : at + size] for at in range(0, len(names), size)]
    calls = call_all(PROGRAM, specification, generator.security_schemes(), groups, calls_of)
    without_cases = sum(not cases for cases in made.values())
    return judged(Row(specification.name, len(operations), without_cases, len(calls), 0, 0, Counter(), reports), calls)


def judged(row: Row, calls: list[ToolCall]) -> Row:
    """The row with what came of the calls."""
    for call in calls:
        differences = call.differences()
        found = {excuse_for(difference, call) for difference in differences}
        if None in found:
            row.reports.append(report(call, differences))
        elif found:
            row = row._replace(excused=row.excused + 1, excuses=row.excuses + Counter(found))
        else:
            row = row._replace(equal=row.equal + 1)
    return row


def report(call: ToolCall, differences) -> str:
    lines = [f"{call.operation.label}: {call.tool['name']} {json.dumps(call.arguments)[:2000]}"]
    for difference in differences:
        excuse = excuse_for(difference, call)
        end = f" (excused: {excuse})" if excuse else ""
        lines.append(f"    {difference.place}: sent {difference.ours!r}, Schemathesis {difference.theirs!r}{end}")
    return "\n".join(lines)


def together(rows: list[Row]) -> Row:
    numbers = [sum(row[column] for row in rows) for column in range(1, 6)]
    return Row("all", *numbers, sum((row.excuses for row in rows), Counter()), [one for row in rows for one in row.reports])


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--cases", type=int, default=5, help="for each operation")
    options.add_argument("--seed", type=int, default=1, help="another number makes other cases")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--show", type=int, default=20, help="so many differences are printed")
    options.add_argument("specifications", nargs="+", type=pathlib.Path)
    options = options.parse_args()
    # Those that take longest begin first.
    by_size = sorted(options.specifications, key=lambda file: -file.stat().st_size)
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = {file: pool.submit(compared, file, options.cases, options.seed) for file in by_size}
        rows = [futures[file].result() for file in options.specifications]
    whole = together(rows)
    for one in whole.reports[: options.show]:
        print(one, file=sys.stderr)
    for row in [*rows, whole]:
        print(row)
    for excuse in EXCUSES:
        if whole.excuses[excuse.name]:
            print(f"  {excuse.name}: {excuse.reason}")
    return 1 if whole.reports or not whole.cases else 0


if __name__ == "__main__":
    sys.exit(main())
