#!/usr/bin/env python3
"""python_suite.py MODULE [CLASS-TO-LEAVE-OUT…]: runs one module of Python's own test suite and prints "TEST-ID OUTCOME" a line, sorted, for comparison.

A test that fails is run once more, as `python3 -m test -w` does; what the tests themselves print goes to standard error. Exit status 0 if the
module could be run at all. Outcomes: ok, skipped, failed, expected (a failure that the suite expects).
"""
import faulthandler
import gc
import importlib
import os
import sys
import unittest


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.of = {}

    def startTest(self, test):
        super().startTest(test)
        self.of[test.id()] = "ok"
        print("-- " + test.id(), file=sys.stderr, flush=True)

    def note(self, test, outcome, error=None):
        self.of[test.id()] = outcome
        if error is not None:
            print(f"{outcome}: {test.id()}\n{self._exc_info_to_string(error, test)}", file=sys.stderr, flush=True)

    def addError(self, test, err):
        self.note(test, "failed", err)

    def addFailure(self, test, err):
        self.note(test, "failed", err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note(test, "failed", err)

    def addSkip(self, test, reason):
        if self.of.get(test.id()) != "failed":
            self.of[test.id()] = "skipped"

    def addExpectedFailure(self, test, err):
        self.of[test.id()] = "expected"


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def main():
    name = "test." + sys.argv[1]
    faulthandler.enable()
    report = os.dup(1)
    os.dup2(2, 1)
    support = importlib.import_module("test.support")
    support.use_resources = []
    module = importlib.import_module(name)
    left_out = set(sys.argv[2:])

    def load():
        everything = tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
        return unittest.TestSuite(test for test in everything if type(test).__name__ not in left_out)

    outcomes = Outcomes()
    load().run(outcomes)
    failed = {test for test, outcome in outcomes.of.items() if outcome == "failed"}
    if failed:
        gc.collect()
        again = Outcomes()
        unittest.TestSuite(test for test in tests_of(load()) if test.id() in failed).run(again)
        outcomes.of.update(again.of)
    with os.fdopen(report, "w") as out:
        for test, outcome in sorted(outcomes.of.items()):
            print(test, outcome, file=out)
    os._exit(0)  # threads that a test left behind do not matter


if __name__ == "__main__":
    main()
