"""`trimtab report`: where the page of the last run lies, or a summary of what was run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.errors import UsageError
from trimtab.project import Project, find_project


@click.command()
@click.option("--summary", is_flag=True, help="Instead: what was run, as Markdown with a chart of the disk.")
@click.option("--since", metavar="TIME", help="With --summary: from when on, such as 2026-11-22T20:15:00Z.")
@CATALOGUE
@JSON
def report(*, summary: bool, since: str | None, catalogue: Path | None, as_json: bool) -> None:
    """Show where the page of the last run lies; open it with any browser.

    \b
    Examples:
      trimtab report
      trimtab report --summary                              of everything that the ledger holds
      trimtab report --summary >> "$GITHUB_STEP_SUMMARY"    on the page of a workflow's run
    """
    if since is not None and not summary:
        raise UsageError("--since is of no use alone", why="it limits the summary", remedy="add --summary")
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    if summary:
        text = _summary(project, since)
        console.result({"summary": text}, text=lambda: click.echo(text, nl=False))
        return
    page = project.state / "report" / "index.html"
    if not page.is_file():
        raise UsageError("there is no report yet", why=f"{page} does not exist", remedy="run `trimtab local` first")
    console.result({"report": str(page)}, text=lambda: console.line(str(page)))


def _summary(project: Project, since: str | None) -> str:
    from trimtab.cost.ledger import Ledger
    from trimtab.report.summary import entries_since, summary

    entries = Ledger(project.state / "ledger.jsonl").entries()
    if since is not None:
        entries = entries_since(entries, _moment(since))
    return summary(entries, disk_budget_bytes=project.catalogue.budgets.disk)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time",
            why=str(error),
            remedy="write it as 2026-11-22T20:15:00Z (date -u +%Y-%m-%dT%H:%M:%SZ)",
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
