"""Which test runs on which lab machine, and what counts when a machine cannot do it.

- A test that uses `lab`, `fresh_lab` or `machine` runs once for each machine of the run. With none named these are this
  computer and, for tests that need what a kernel may lack, a virtual machine that has it.
- `@pytest.mark.here` is for what looks at this computer itself (its processes, its files): not for other machines.
- A test skips by `NotSupportedError` and in no other way; `pytest.skip` fails. A test that was
  skipped on every machine of a run with this computer fails it.
- `@pytest.mark.needs("kprobe")` is for what a kernel may lack. On a machine that promises it, the test
  has to pass. On one that does not (this computer's own kernel, whatever it is), the test passes as well
  when the lab refuses as it should: by a `NotSupportedError` that names the feature, the machine and a
  next step. The summary lists what was refused everywhere, for then this run has proved only the refusal.
"""

from __future__ import annotations

import collections
import os
import unittest

import pytest

from bpflab.errors import NotSupportedError

# kind of machine -> does it promise what a test needs?
MACHINES = {"local": False, "vm": True, "vagrant": True, "ssh": False}
# 6.1 is built without FPROBE, and older than the others
LACKS = {"vm:6.1": ("kprobe.multi", "uprobe.multi", "tcx", "netkit", "netfilter")}
HARDWARE = ("hardware perf events", "perf event cpu-cycles", "xdp offload", "lirc_mode2")  # no virtual machine promises these
FULL, FOR_NEEDS = "local", "vm:6.12"  # the machines of a run that names none: for all tests, for those that need something
NAMED = "BPFLAB_TEST_MACHINES"
NOWHERE = "no lab"


def machines() -> list[str]:
    """The machines of this run: those of BPFLAB_TEST_MACHINES (names with commas between), or ours."""
    named = os.environ.get(NAMED, "")
    wanted = named.split(",") if named else [FULL, FOR_NEEDS]
    if unknown := [name for name in wanted if name.partition(":")[0] not in MACHINES]:
        raise pytest.UsageError(f"{NAMED}: no lab machine named {', '.join(unknown)}; there are {', '.join(MACHINES)}")
    return wanted


def promises(machine: str, features: tuple[str, ...]) -> bool:
    """Whether a machine has to have these features."""
    return MACHINES.get(machine.partition(":")[0], False) and not set(features) & {*HARDWARE, *LACKS.get(machine, ())}


def _runs(item) -> bool:
    """Whether a test is for the machine that it got."""
    machine = _machine(item)
    if machine not in (FULL, NOWHERE) and item.get_closest_marker("here"):
        return False
    return machine != FOR_NEEDS or bool(os.environ.get(NAMED)) or item.get_closest_marker("needs") is not None


def _machine(item) -> str:
    return item.callspec.params.get("machine", NOWHERE) if hasattr(item, "callspec") else NOWHERE


def _test(item) -> str:
    """A test's id without its machine."""
    if _machine(item) == NOWHERE:
        return item.nodeid
    others = [str(value) for name, value in item.callspec.params.items() if name != "machine"]
    return item.nodeid.partition("[")[0] + (f"[{'-'.join(others)}]" if others else "")


def refusal_fault(exc: NotSupportedError, features: tuple[str, ...], machine: str) -> str | None:
    """What is wrong with a refusal; None when it is as it should be."""
    text = str(exc)
    if not any(feature.lower() in exc.feature.lower() for feature in features):
        return f"it names '{exc.feature}', not {' or '.join(features)}"
    if machine not in exc.machine or exc.machine not in text:
        return f"it does not name the machine, {machine}"
    if ";" not in text:
        return "it ends without a next step"
    return None


class Lanes:
    """The pytest plugin."""

    def __init__(self):
        self.outcomes: dict[str, dict[str, str]] = collections.defaultdict(dict)  # test -> machine -> outcome
        self.refused: dict[str, set[str]] = {}  # test -> features

    def pytest_collection_modifyitems(self, config, items):
        others = [item for item in items if not _runs(item)]
        if others:
            items[:] = [item for item in items if _runs(item)]
            config.hook.pytest_deselected(items=others)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        exc = call.excinfo.value if call.excinfo else None
        if isinstance(exc, NotSupportedError):
            self._not_supported(item, call, report, exc)
        elif isinstance(exc, (pytest.skip.Exception, unittest.SkipTest)):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: a test skips only by NotSupportedError, and this one did so by: {exc}"
        if report.when == "call" or not report.passed:
            outcome = getattr(report, "lane_outcome", report.outcome)
            before = self.outcomes[_test(item)].get(_machine(item))
            self.outcomes[_test(item)][_machine(item)] = "failed" if before == "failed" else outcome
        return report

    def _not_supported(self, item, call, report, exc):
        mark = item.get_closest_marker("needs")
        machine = _machine(item)
        if mark is None or call.when != "call":
            report.outcome = "skipped"
            path, line, _ = item.location
            report.longrepr = (path, line or 0, f"Skipped: {exc}")
        elif promises(machine, mark.args):
            return  # promised, and not kept: stays failed
        elif fault := refusal_fault(exc, mark.args, machine):
            report.longrepr = f"{item.nodeid}: the refusal is not as it should be: {fault}\n{exc}"
        else:
            report.outcome, report.longrepr = "passed", None
            report.lane_outcome = "refused"
            self.refused.setdefault(_test(item), set()).update(mark.args)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        if report.outcome == "skipped":
            report.outcome = "failed"
            report.longrepr = f"{collector.nodeid}: a module may not skip itself; tests skip by NotSupportedError"
        return report

    def skipped_everywhere(self) -> list[str]:
        if FULL not in machines():
            return []  # a run on some older kernel need not have everything
        return [test for test, by in self.outcomes.items() if by and set(by.values()) == {"skipped"}]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if self.skipped_everywhere() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        terminalreporter.section("what ran where")
        counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for by in self.outcomes.values():
            for machine, outcome in by.items():
                counts[machine][outcome] += 1
        for machine, counter in sorted(counts.items()):
            write(f"{machine:10}" + ", ".join(f"{n} {outcome}" for outcome, n in sorted(counter.items())))
        only_refused = {t: f for t, f in self.refused.items() if "passed" not in self.outcomes[t].values()}
        if only_refused:
            features = sorted(set().union(*only_refused.values()))
            write(f"refused as they should be, and delivered on no machine of this run: {', '.join(features)}")
        for test in self.skipped_everywhere():
            write(f"FAILED {test}: skipped on every machine", red=True)
