"""The progress bar of a verification: how far, and which check is running."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

BAD = ("fail", "error", "crash", "timeout")


class Bar:
    """Shows a run's events; failures stay visible above the bar."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`; nothing is left of the bar at the end."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._done: set[tuple[str, str, str | None]] = set()
        self._task = self._progress.add_task("starting torch", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take one event of the runner."""
        kind = event["event"]
        if kind == "hello":
            self._progress.update(self._task, total=len(event["plan"]))
        elif kind == "start":
            self._progress.update(self._task, description=_name(event))
        elif kind == "result":
            key = (event["id"], event["device"], event["dtype"])
            if key not in self._done:  # many ranks run one check
                self._done.add(key)
                self._progress.advance(self._task)
            if event["status"] in BAD:
                from rich.text import Text

                self._progress.console.print(Text.assemble((f"{event['status']}: ", "bold red"), _name(event)))


def _name(event: dict[str, Any]) -> str:
    where = "/".join(filter(None, (event["device"], event["dtype"])))
    rank = f" on rank {event['rank']}" if "rank" in event else ""
    return f"{event['id']}{f' [{where}]' if where else ''}{rank}"
