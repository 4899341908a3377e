"""Each check as a test of pytest's: `pytest --torchcheck`, off unless asked.

The checks run in processes of their own, as in `torchcheck verify`, the selected ones of a topic together; so `-k`,
`-x`, `--junitxml` and pytest-xdist's `-n` work as they do for other tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LEVELS = ("quick", "default", "full")
KEY = pytest.StashKey["Results"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("torchcheck", "prove that torch trains correctly")
    group.addoption("--torchcheck", nargs="?", const="default", choices=LEVELS, help="run the checks of torchcheck too")
    group.addoption("--torchcheck-python", default=sys.executable, metavar="PATH", help="the interpreter to verify")


def pytest_collection(session: pytest.Session) -> None:
    """Prepare to run checks where they are asked for."""
    if session.config.getoption("--torchcheck"):
        session.stash[KEY] = Results(session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Iterator[None]:
    """Add the checks to what was collected, before `-k` and other plugins choose among it."""
    if session.config.getoption("--torchcheck"):
        items.extend(Checks.from_parent(session, name="torchcheck", nodeid="torchcheck").collect())
    yield


class Results:
    """Runs a topic's checks when the first of them is due, and keeps what came of them."""

    def __init__(self, session: pytest.Session) -> None:
        """Run for one session."""
        self._session = session
        self._known: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}

    @property
    def _asked(self) -> tuple[str, str]:
        config = self._session.config
        return str(config.getoption("--torchcheck")), str(config.getoption("--torchcheck-python"))

    def plan(self) -> list[dict[str, Any]]:
        """List what would run, on the devices that torch finds."""
        from torchcheck.suite.plan import choose, items
        from torchcheck.suite.registry import all_checks

        hello = next(event for event in self._run(("environment.import",)) if event["event"] == "hello")
        chosen = choose(all_checks(), level=self._asked[0])
        return [item.as_json() for item in items(chosen, hello["devices"] or ["cpu"])]

    def of(self, item: Check) -> dict[str, Any]:
        """Give the result of one check."""
        topic = item.planned["id"].partition(".")[0]
        if topic not in self._known:
            wanted = {i.planned["id"] for i in self._session.items if isinstance(i, Check)}
            select = tuple(sorted(ident for ident in wanted if ident.partition(".")[0] == topic))
            self._known[topic] = {_key(e): e for e in self._run(select) if e["event"] == "result"}
        return self._known[topic][_key(item.planned)]

    def _run(self, select: tuple[str, ...]) -> list[dict[str, Any]]:
        from torchcheck.verify.runner import Job, run

        level, python = self._asked
        events: list[dict[str, Any]] = []
        run(python, Job(level=level, select=select), events.append)
        return events


class Checks(pytest.Collector):
    """All checks of this run."""

    def collect(self) -> list[Check]:
        """List them."""
        return [Check.of(self, planned) for planned in self.session.stash[KEY].plan()]


class Check(pytest.Item):
    """One check on one device."""

    planned: dict[str, Any]

    @classmethod
    def of(cls, parent: Checks, planned: dict[str, Any]) -> Check:
        """Make an item of a planned check."""
        where = "-".join(filter(None, (planned["device"], planned["dtype"])))
        item: Check = cls.from_parent(parent, name=f"{planned['id']}[{where}]")
        item.planned = planned
        return item

    def runtest(self) -> None:
        """Pass, fail, skip, or fail as expected where the defect is known."""
        result = self.session.stash[KEY].of(self)
        for name in ("measured", "bound", "unit"):
            self.user_properties.append((name, result[name]))
        if result["status"] == "skip":
            pytest.skip(result["detail"])
        if result["status"] == "known":
            pytest.xfail(result["detail"])
        if result["status"] != "pass":
            raise CheckError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what was seen and what to do, not our own frames."""
        if isinstance(excinfo.value, CheckError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where it comes from."""
        return Path("torchcheck"), None, self.name


class CheckError(Exception):
    """A check that did not pass."""

    def __init__(self, result: dict[str, Any]) -> None:
        """Say what was seen and what to do."""
        told = [f"{result['status']}: {result['title']}", result["detail"], result["hint"]]
        super().__init__("\n".join(str(line) for line in told if line))


def _key(item: dict[str, Any]) -> tuple[str, ...]:
    return item["id"], str(item["device"]), str(item["dtype"])
