"""What all ranks do together: a process group, and one check after the other in step.

After each check the ranks wait for one another at the store. Where one of them met an exception that others did not,
its peers may still be inside a collective, and what they exchange next would be mixed up: so all leave the group and
form a fresh one, and the next check begins anew. A rank whose process died is replaced, and comes in the same way.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

BACKENDS = {"cuda": "nccl", "xpu": "xccl"}


class Together:
    """One rank's part in the checks that take all of them."""

    def __init__(self, torch: Any, meeting: Any, place: dict[str, Any], device: str, patience: float) -> None:
        """Take what the rank's process has; `patience` is the process group's own timeout."""
        self.torch = torch
        self.meeting = meeting
        self.place = place
        self.device = device
        self.patience = patience
        self.number = 0
        self.backend = BACKENDS.get(device.partition(":")[0], "gloo")

    def run(
        self, items: list[Any], first: int, run: Callable[[Any], dict[str, Any]], wait: Callable[[int, str], str]
    ) -> tuple[int, str]:
        """Run the items from number `first` on.

        Args:
            items: all items, the same on every rank.
            first: number of the first one that is to run here.
            run: runs one and gives its result.
            wait: waits for all ranks after the item of a number, with its outcome; see `Meeting.finish`.

        Returns:
            The number of the first item that was not run, and why ("" when all were; "restart" when it takes a fresh
            process).
        """
        for number, item in enumerate(items[first:], first):
            self.number = number
            if not self.torch.distributed.is_initialized():
                self.form(number)
            outcome = _outcome(run(item))
            if outcome == "raised":
                self.leave()  # who still waits for this rank learns at once that it does not come
            state = wait(number, outcome)
            if state == "lost":
                return number + 1, f"a rank did not come back from {item.check.id}"
            if state == "apart":
                if self.backend != "gloo":
                    return number + 1, "restart"
                self.leave()
        return len(items), ""

    def form(self, number: int) -> None:
        """Make the process group that serves from an item's number on.

        Raises:
            Exception: torch's own, when it cannot be made.
        """
        from .meeting import open_store

        distributed = self.torch.distributed
        options: dict[str, Any] = {}
        if self.device != "cpu":
            getattr(self.torch, self.device.partition(":")[0]).set_device(self.device)
            if "device_id" in inspect.signature(distributed.init_process_group).parameters:  # torch 2.3 and later
                options["device_id"] = self.torch.device(self.device)
        store = open_store(self.torch, self.place["master"], self.place["port"], self.patience)
        distributed.init_process_group(
            self.backend,
            store=distributed.PrefixStore(f"torchcheck/{self.place.get('attempt', 0)}/group/{number}", store),
            rank=self.place["rank"],
            world_size=self.place["world"],
            timeout=timedelta(seconds=self.patience),
            **options,
        )

    def leave(self) -> None:
        """Close this rank's connections; elsewhere than on the CPU that may wait for work which never ends."""
        if self.backend == "gloo" and self.torch.distributed.is_initialized():
            with contextlib.suppress(RuntimeError):
                self.torch.distributed.destroy_process_group()


def _outcome(result: dict[str, Any]) -> str:
    """Say how an item ended: a comparison that failed leaves the ranks together, an exception does not."""
    if result["status"] == "skip":
        return "skipped"
    return "raised" if result["status"] in ("fail", "error", "known") and result["measured"] is None else ""
