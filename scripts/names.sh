#!/usr/bin/env bash
# Counts how types are named: like another type, in one word, by a lone participle or gerund; and how long files and functions
# are. CONTRIBUTING.md has the rules.
#   scripts/names.sh              a table for src/
#   scripts/names.sh FOLDER...    one column for each folder: an older checkout, or another project's sources
#   scripts/names.sh --list       the names behind the counts
# Names in strings and comments do not count, and nothing in test modules does. Lines are those of the file, comments included.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - "$@" <<'PYTHON'
import re
import sys
from collections import Counter
from pathlib import Path

STRIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\\n])'""", re.S
)
TYPE = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:struct|enum|union|trait|type)[ \t]+([A-Z]\w*)", re.M)
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{")
FUNCTION = re.compile(r"\bfn[ \t]+\w+")
ASSOCIATED = re.compile(r"^[ \t]+type[ \t]+\w+[^=\n]*=?[^\n]*;", re.M)
# One word that ends like a participle or a gerund, and is none.
NOUNS = set("Bed Feed Seed Speed Need Shed Thing String Ring Ping King Spring Wing Kind Embed Timing Setting Ceiling".split())
# Participles that do not end in -ed or -ing.
IRREGULAR = set(
    "Begun Bound Broken Built Chosen Done Drawn Found Given Gone Grown Heard Held Hidden Kept Known Led Left Lost Made Met "
    "Paid Put Read Said Seen Sent Set Shown Spent Spoken Stolen Taken Thrown Told Understood Woken Worn Written".split()
)


def without_tests(code):
    """The code without its test modules, found by their braces."""
    while start := TEST_MODULE.search(code):
        depth, end = 1, start.end()
        while depth and end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        code = code[: start.start()] + code[end:]
    return code


def code_in(folder):
    """The code of each file: comments and strings are blank, and the lines are as many."""
    for path in sorted(Path(folder).rglob("*.rs")):
        parts = path.relative_to(folder).parts
        if any(part in ("tests", "target") for part in parts) or re.search(r"(^|_)tests\.rs$|^testing\.rs$", parts[-1]):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield without_tests(STRIPPED.sub(lambda found: " " + "\n" * found.group().count("\n"), text))


def function_lengths(code):
    """The lines of each function that has a body, from its name to its last brace."""
    for function in FUNCTION.finditer(code):
        depth, at = 0, function.end()
        while at < len(code) and (depth or code[at] not in ";{"):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(code[at], 0)
            at += 1
        if at == len(code) or code[at] == ";":
            continue
        depth, end = 1, at + 1
        while depth and end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        yield code.count("\n", function.start(), end) + 1


def spread(lengths):
    ordered = sorted(lengths)
    at = lambda part: ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return f"{at(0.5)} / {at(0.9)} / {at(0.99)} / {ordered[-1]}"


def words(name):
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+", name)


def is_participle(name):
    if len(words(name)) != 1 or name in NOUNS:
        return False
    return name in IRREGULAR or bool(re.search(r"[a-z]{2}(ed|ing)$", name))


def measures(folder):
    files = list(code_in(folder))
    names = [name for code in files for name in TYPE.findall(ASSOCIATED.sub("", code))]
    if not names:
        sys.exit(f"no Rust types are in {folder}")
    often = Counter(names)
    return {
        "names": names,
        "one": sorted({name for name in names if len(words(name)) == 1}),
        "participles": sorted({name for name in names if is_participle(name)}),
        "shared": sorted((name, count) for name, count in often.items() if count > 1),
        "rows": [
            ("types", f"{len(names)}"),
            ("types that share their name with another", share(sum(often[name] > 1 for name in names), len(names))),
            ("different names", f"{len(often)}"),
            ("names of one word", share(sum(len(words(name)) == 1 for name in often), len(often))),
            ("names that are a lone participle or gerund", share(sum(map(is_participle, often)), len(often))),
            ("mean length of a name", f"{sum(map(len, often)) / len(often):.1f}"),
            ("lines of a file: median / p90 / p99 / most", spread(code.rstrip().count("\n") + 1 for code in files)),
            ("lines of a function: median / p90 / p99 / most", spread(n for code in files for n in function_lengths(code))),
        ],
    }


def share(count, whole):
    return f"{count} ({100 * count / whole:.1f} %)"


arguments = sys.argv[1:]
listing = "--list" in arguments
folders = [argument for argument in arguments if argument != "--list"] or ["src"]
counted = [measures(folder) for folder in folders]
print("| measure | " + " | ".join(folders) + " |")
print("| --- |" + " --- |" * len(folders))
for index, (label, _) in enumerate(counted[0]["rows"]):
    print(f"| {label} | " + " | ".join(found["rows"][index][1] for found in counted) + " |")
if listing:
    for folder, found in zip(folders, counted):
        print(f"\n{folder}")
        print("one word: " + ", ".join(found["one"]))
        print("participles: " + ", ".join(found["participles"]))
        print("shared: " + ", ".join(f"{name} x{count}" for name, count in found["shared"]))
PYTHON
