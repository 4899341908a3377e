"""Shows an installation as it goes: the phase, the file, how far; plain lines when nobody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from torchcheck.cli.output import Output

PHASES = {
    "fetch": "Fetching wheels; the target stays as it is",
    "keep": "Keeping what is there now",
    "change": "Installing",
    "restore": "Putting back what was there",
    "recover": "Undoing an interrupted installation",
}


class Phases:
    """Takes the events of `install.apply`."""

    def __init__(self, output: Output) -> None:
        """Speak through a command's output; nothing when it is to be quiet."""
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._output = output
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=output.log,
            transient=True,
            disable=output.quiet or not output.log.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._fetching = False
        self._files: set[str] = set()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "phase":
            self._phase(event)
        elif kind == "download":
            self._download(event)
        elif kind == "file" and self._fetching and event["file"] not in self._files:
            self._files.add(event["file"])
            self._output.say(f"  {event['file']}")
        elif kind == "retry":
            self._output.say(f"{event['message']} Trying again in {event['seconds']:.0f} s.")
        elif kind == "warning":
            self._output.say(f"{event['message']} {event.get('hint', '')}".rstrip())
        elif kind == "waiting":
            self._output.say(event["text"])
        elif self._output.verbose:
            self._output.say(f"  {event.get('text', '')}")

    def _phase(self, event: dict[str, Any]) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        self._fetching = event["phase"] == "fetch"
        if event["phase"] == "verify":  # it shows a bar of its own
            self._bars.stop()
            return
        told = PHASES.get(event["phase"], event["phase"])
        named = ", ".join(f"{name} {version}" for name, version in event.get("packages", {}).items())
        self._output.say(f"{told}{': ' + named if named else '.'}")

    def _download(self, event: dict[str, Any]) -> None:
        name = event["file"]
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name[:40], total=event["total"])
        self._bars.update(self._tasks[name], completed=event["done"])
