"""Run the real worker, in a real process, against a fake torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from torchcheck.verify import outcome, runner

FAKES = Path(__file__).resolve().parents[1] / "fake_torch"
TINY = Path(__file__).resolve().parent / "tiny"


@pytest.fixture
def verify(tmp_path, empty_venv):
    """Give a function that runs checks against a fake torch (kind "": none at all) and returns what came of it."""
    bare = empty_venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(kind, *select, on_event=None, **options):
        folder = str(FAKES / kind) if kind else str(tmp_path)
        env = {**os.environ, "PYTHONPATH": folder}
        events = []

        def keep(event):
            events.append(event)
            if on_event:
                on_event(event)

        options = {"timeout": 30.0, "select": select or ("tiny",), "folders": (str(TINY),), **options}
        runner.run(sys.executable if kind else str(bare), runner.Job(**options), keep, env=env)
        return Run(events)

    return run


class Run:
    def __init__(self, events):
        self.events = events
        self.outcome = outcome.summarize(events)
        self.results = {"/".join(filter(None, (c["id"], c["dtype"]))): c for c in self.outcome.checks}

    def status(self, ident):
        return self.results[ident]["status"]

    @property
    def statuses(self):
        return {ident: result["status"] for ident, result in self.results.items()}
