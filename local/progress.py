"""Watches a run through the EC2 API, as anybody could, and shows it: a line per image and leg."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from . import inventory
from .stack import HOME_REGION, Stack

_TAG_RUN = "ami-backup:run"
_TAG_SOURCE = "ami-backup:source"
_LOOK_EVERY_SECONDS = 0.5


@dataclass
class Leg:
    """One image on its way to one place."""

    source: str
    leg: str
    place: str
    percent: int = 0
    state: str = "waiting"
    result: str = ""
    began: float | None = None
    ended: float | None = None
    told: int = field(default=-1, repr=False)

    def see(self, percent: int, state: str, result: str = "") -> None:
        """Take note of what was seen of it; `done` and `failed` are final."""
        if self.ended is not None:
            return
        now = time.monotonic()
        self.began = self.began or now
        self.percent, self.state, self.result = percent, state, result or self.result
        if state in ("done", "failed"):
            self.ended = now
            self.percent = 100 if state == "done" else percent

    def seconds(self) -> float:
        """How long it has been, or was, under way."""
        return 0.0 if self.began is None else (self.ended or time.monotonic()) - self.began


class Watch:
    """The legs of one run, looked at every half second and shown as a table, or as lines where there is no terminal."""

    def __init__(self, stack: Stack, console: Console, run: str, legs: list[Leg]) -> None:
        self._stack = stack
        self._console = console
        self._run = run
        self.legs = legs
        self._looked = 0.0
        self._live = Live(self._table(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Watch:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._looked = 0.0
            self.look()
        if self._live:
            self._live.stop()

    def look(self) -> None:
        """Look once, unless that was just done."""
        if time.monotonic() - self._looked < _LOOK_EVERY_SECONDS:
            return
        self._looked = time.monotonic()
        home = self._stack.client("ec2")
        for region in {leg.place for leg in self.legs if leg.leg in ("image", "copy", "restore")}:
            self._see_images(region)
        for task in home.describe_store_image_tasks()["StoreImageTaskResults"]:
            state = {"Completed": "done", "Failed": "failed"}.get(task["StoreTaskState"], "storing")
            self._see("store", task["AmiId"], None, task.get("ProgressPercentage", 0), state, task["S3objectKey"])
        for task in home.describe_export_image_tasks()["ExportImageTasks"]:
            state = {"completed": "done", "deleted": "failed"}.get(
                task["Status"], task.get("StatusMessage", "exporting")
            )
            percent = int(task.get("Progress", 0))
            self._see("export", task["ImageId"], None, percent, state, task["ExportImageTaskId"])
        self._show()

    def _see_images(self, region: str) -> None:
        mine = [{"Name": f"tag:{_TAG_RUN}", "Values": [self._run]}]
        parts: dict[str, list[int]] = {}
        for snapshot in inventory.snapshots(self._stack, region, mine):
            source = inventory.tags_of(snapshot).get(_TAG_SOURCE, "")
            parts.setdefault(source, []).append(int(snapshot.get("Progress", "0%").rstrip("%") or 0))
        for image in inventory.images(self._stack, region, mine):
            source = inventory.tags_of(image).get(_TAG_SOURCE, "")
            seen = parts.get(source) or [0]
            state = {"available": "done", "failed": "failed"}.get(image["State"], image["State"])
            for kind in ("image", "copy", "restore"):
                self._see(kind, source, region, sum(seen) // len(seen), state, image["ImageId"])

    def _see(self, kind: str, source: str, place: str | None, percent: int, state: str, result: str) -> None:
        """Note what was seen of a leg; what comes after an image leg has that image as its source."""
        made = {leg.result: leg.source for leg in self.legs if leg.leg == "image" and leg.result}
        for leg in self.legs:
            if leg.leg == kind and leg.source in (source, made.get(source)) and place in (None, leg.place):
                leg.see(percent, state, result)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("source", "leg", "where", "", "%", "elapsed", "state", "made"):
            table.add_column(title, justify="right" if title in ("%", "elapsed") else "left", no_wrap=True)
        for leg in self.legs:
            table.add_row(
                leg.source,
                leg.leg,
                leg.place,
                ProgressBar(100, leg.percent, width=20),
                str(leg.percent),
                f"{leg.seconds():.1f} s",
                leg.state,
                leg.result,
            )
        return table

    def _show(self) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            return
        for leg in self.legs:
            step = 4 if leg.ended else leg.percent // 25
            if leg.began and step > leg.told:
                leg.told = step
                print(
                    f"{leg.source:21}  {leg.leg:7} {leg.place:13} {leg.percent:3} %  {leg.seconds():5.1f} s"
                    f"  {leg.state}  {leg.result}".rstrip()
                )
                sys.stdout.flush()


def backup_legs(sources: list[str], regions: list[str], buckets: dict[str, str]) -> list[Leg]:
    """The legs of a backup of `sources` with copies to `regions`, an object and a file each."""
    legs: list[Leg] = []
    for source in sources:
        if source.startswith("i-"):
            legs.append(Leg(source, "image", HOME_REGION))
        legs.append(Leg(source, "store", buckets["store"]))
        legs += [Leg(source, "copy", region) for region in regions]
        legs.append(Leg(source, "export", buckets["export"]))
    return legs


def described(console: Console, title: str, rows: list[list[Any]], heads: list[str]) -> None:
    """Print a table of results."""
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)
