"""Validates every manifest of this repository: strict schemas, and rules between objects.

    check.py               checks the files
    check.py --self-test   plants a fault for each rule, in memory, and shows that it is found
    check.py --root DIR    checks another copy of the repository

Prints what failed and a closing line `N passed, N failed`; ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # a check leaves no trace in the clone

import rules_api  # noqa: E402
import rules_keda  # noqa: E402
import rules_nodes  # noqa: E402
import rules_pods  # noqa: E402
import rules_worker  # noqa: E402
from model import ROOT, World, load  # noqa: E402
from schemas import Schemas  # noqa: E402

RULES = (*rules_pods.RULES, *rules_keda.RULES, *rules_nodes.RULES, *rules_api.RULES,
         *rules_worker.RULES)


class Report:
    """Counts, and says each failure in one line."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def add(self, what: str, problem: str | None) -> None:
        if problem is None:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: {problem}")

    def section(self, title: str, before: tuple[int, int]) -> None:
        passed, failed = self.passed - before[0], self.failed - before[1]
        print(f"{title}: {passed} passed{f', {failed} failed' if failed else ''}")

    @property
    def now(self) -> tuple[int, int]:
        return self.passed, self.failed

    def close(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def check_schemas(world: World, schemas: Schemas, report: Report) -> None:
    before, labels = report.now, {}
    for problem in schemas.missing:
        report.add("schemas", problem)
    for path, problem in world.unreadable:
        report.add(path, problem)
    for obj in world.objects:
        for label, errors in schemas.check(obj):
            report.add(f"{obj} ({label})", "; ".join(errors) or None)
            labels[label] = labels.get(label, 0) + 1
    report.section(f"{len(world.texts)} files, {len(world.objects)} objects against strict schemas", before)
    for label, count in sorted(labels.items()):
        print(f"  {label}: {count} objects")


def check_rules(world: World, report: Report) -> None:
    before = report.now
    for rule in RULES:
        looked_at = 0
        try:
            for subject, problem in rule(world):
                looked_at += 1
                report.add(f"{rule.__name__}: {subject}", problem)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # An object so broken that a rule cannot read it; its schema says what is wrong with it.
            report.add(f"{rule.__name__}", f"could not read an object: {type(error).__name__} {error}")
        if not looked_at:
            report.add(rule.__name__, "found nothing to look at")
    report.section(f"{len(RULES)} rules between objects", before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true", help="plant faults and prove that they are found")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository to check")
    args = parser.parse_args()
    report, world, schemas = Report(), load(args.root), Schemas()
    if args.self_test:
        import selftest

        selftest.run(world, schemas, RULES, report)
    else:
        check_schemas(world, schemas, report)
        check_rules(world, report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
