"""Tells what happened: a table per scene, a chain of responsibility, a trail, and what was not as expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from service.demo.client import Answer
from service.demo.step import Difference, Scene, Step, member


def plain(value: Any) -> str:
    """A value as a difference shows it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def short(record_id: str | None) -> str:
    """The end of a record's id, which tells records of one day apart."""
    return f"…{record_id[-8:]}" if record_id else ""


class Telling:
    """What is printed. Works on a terminal, where a bar moves below the tables, and into a file, where none does."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._table = Table()
        self._folded: Table | None = None
        self._seen = 0
        self._said: list[tuple[str, str]] = []

    # While it is played

    @contextmanager
    def progress(self, steps: int) -> Iterator[None]:
        """Show a bar of so many steps while the block runs."""
        self._progress.update(self._task, total=steps)
        with self._progress:
            yield
        self._unfold()

    def saying(self, what: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=what)
        if not self._console.is_terminal:
            self._console.print(f"  {what} …")

    def opens(self, scene: Scene) -> None:
        """Begin a scene; folded ones share a table."""
        self._progress.update(self._task, description=scene.title)
        self._seen = 0
        if scene.folded:
            if self._folded is None:
                self._folded = _table(
                    "Who and what there is before the story", "Time", "Registered", "By", "As expected"
                )
            return
        self._unfold()
        self._table = _table(scene.title, "Row", "Time", "Who", "Does", "Answer", "Record", "Which shows")

    def step(self, step: Step, answer: Answer | None, *, as_expected: bool) -> None:
        """Tell a step."""
        self._progress.advance(self._task)
        self._seen += as_expected
        if self._folded is not None:
            return
        style = "" if as_expected else "bold red"
        self._table.add_row(
            step.label,
            _clock(step),
            step.who,
            step.does,
            Text(_answer(answer), style=_colour(answer) if as_expected else style),
            short(_record(step, answer)),
            Text(step.means if as_expected else f"not as expected: {step.means}", style=style),
        )
        if answer is not None and "said" in answer.body:
            self._said.append((f"{step.who} {step.does}; the verifier, alone, says:", answer.body["said"]))

    def closes(self, scene: Scene) -> None:
        """End a scene: print its table, or its one line."""
        if self._folded is None:
            self._print(self._table)
            for what, said in self._said:
                self._console.print(Text(what, style="bold"))
                self._console.print(
                    Text("\n".join(f"  {line}" for line in said.splitlines())), soft_wrap=True
                )
            self._said.clear()
            return
        whole = self._seen == len(scene.steps)
        by = ", ".join(dict.fromkeys(step.who for step in scene.steps))
        self._folded.add_row(
            _clock(scene.steps[0]),
            scene.title,
            by,
            Text(f"{self._seen} of {len(scene.steps)}", style="green" if whole else "bold red"),
        )

    def _unfold(self) -> None:
        if self._folded is not None:
            self._print(self._folded)
            self._folded = None

    # Afterwards

    def chain(self, answer: Mapping[str, Any]) -> None:
        """Print who answered, link by link, down to the act."""
        chain, act = answer["chain"], answer["act"]
        table = _table(
            f"Who answered for group {chain['id']} at {chain['at']}, when {act['act']} was done",
            *("Link", "Who", "Since", "Lent by", "Record"),
        )
        head, owner = chain["platform"], chain["owner"]
        table.add_row("platform", head["id"], head["held_from"], "", short(head["record_id"]))
        table.add_row("owner", owner["id"], owner["held_from"], "", short(owner["record_id"]))
        for one in chain["admins"]:
            table.add_row("admin", one["id"], one["held_from"], one["granted_by"], short(one["record_id"]))
        table.add_row(act["act"], _who(act["by"]), act["at"], "", short(act["record_id"]))
        table.caption = f"rule {act['rule']}, reason {act['reason']}, edition {act['edition'][:16]}…"
        self._print(table)

    def trail(self, group_id: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Print a trail."""
        table = _table(
            f"The trail of group {group_id}", "At", "Who", "As", "Act", "Outcome", "Rule", "Record"
        )
        for item in items:
            refused = item["outcome"] == "refused"
            table.add_row(
                item["at"][5:23].replace("T", " "),
                _who(item["by"]),
                item["by"]["standing"],
                item["act"],
                Text(
                    item["code"] if refused else item["outcome"],
                    style="yellow" if refused else "green",
                ),
                item["rule"] or "",
                short(item["record_id"]),
            )
        self._print(table)

    def closing(self, asked: int, differences: Sequence[Difference], seconds: float) -> None:
        """Say whether all was as expected; what was not, in red."""
        if not differences:
            said = f"All {asked} expected outcomes were seen, in {seconds:.0f} seconds."
            self._console.print(Text(said, style="bold green"))
            return
        table = _table(
            "Not as expected", "Row", "Time", "Who", "Does", "What", "Expected", "Came", style="bold red"
        )
        for step, what, expected, came in differences:
            table.add_row(
                *(step.label, _clock(step), step.who, step.does, what),
                Text(expected, style="red"),
                Text(came, style="red"),
            )
        self._print(table)
        wrong = len({id(one.step) for one in differences})
        said = f"{wrong} of {asked} outcomes were not as expected, in {seconds:.0f} seconds."
        self._console.print(Text(said, style="bold red"))

    def kept(self, folder: Path) -> None:
        """Say where the data is."""
        serve = f"MANDATE_DATA={folder} MANDATE_CLOCK_FILE={folder}/clock make serve"
        said = f"The data stays in {folder}, its tokens in tokens.json; {serve} serves it again."
        self._console.print(said, soft_wrap=True)

    def _print(self, table: Table) -> None:
        # As a line of its own: the title of a narrow table would be folded into its width.
        title, table.title = table.title, None
        if title is not None:
            self._console.print(title, style=table.title_style or "")
        self._console.print(table)


def _table(title: str, *columns: str, style: str = "bold") -> Table:
    table = Table(title=Text(title), title_style=style, box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, overflow="fold", no_wrap=column in {"Row", "Time", "Who", "At", "Record", "Since", "Rule"}
        )
    return table


def _clock(step: Step) -> str:
    day = "" if step.at.day == 2 else f"{step.at:%d.} "
    return f"{day}{step.at:%H:%M}" + (
        f":{step.at:%S}.{step.at.microsecond // 1000:03}" if step.at.microsecond else ""
    )


def _answer(answer: Answer | None) -> str:
    if answer is None:
        return "not asked"
    said = answer.code or answer.body.get("outcome") or "read"
    rule = answer.body.get("rule", "")
    return f"{answer.status} {said}" + (f" ({rule})" if rule else "")


def _colour(answer: Answer | None) -> str:
    return "yellow" if answer is None or answer.code else "green"


def _record(step: Step, answer: Answer | None) -> str | None:
    """The record of a step, where its answer names one."""
    found = None if answer is None else member(answer.body, step.makes)
    return found if isinstance(found, str) else None


def _who(by: Mapping[str, Any]) -> str:
    who = by["who"]
    return by["kind"] if who is None else who.get("id") or who["tag"][:12]
