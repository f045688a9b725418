"""GET /v1/runs: the runs of a folder with their figures, and the report of each that was evaluated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from guarismo.errors import RunError
from guarismo.models.runs import Run, open_run, read_about, test_figures
from guarismo.serving.problems import Problem

REPORT_SECONDS = 120.0
"""For a report, which loads the data of the run and answers its validation images."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
"""A report carries its style and its script in itself, and needs nothing of this server."""
router = APIRouter(tags=["runs"])


@router.get("/v1/runs")
async def list_runs(request: Request) -> dict[str, list[dict[str, Any]]]:
    """The finished runs of the folder that --runs names, the newest first."""
    return {"runs": await asyncio.to_thread(listed, Path(request.app.state.settings.runs))}


def listed(parent: Path) -> list[dict[str, Any]]:
    """One row for each finished run in a folder, the newest first; what is no sound run is left out."""
    folders = [path for path in parent.iterdir() if (path / "run.json").is_file()] if parent.is_dir() else []
    newest = sorted(folders, key=lambda path: (path / "run.json").stat().st_mtime, reverse=True)
    return [row for folder in newest if (row := figures_of(folder))]


def figures_of(folder: Path) -> dict[str, Any] | None:
    """Name, data and figures of a run; None for what is none, or not finished."""
    try:
        run = Run(folder, read_about(folder))
        if not run.finished:
            return None
        tested = test_figures(run).get("test_accuracy")
        return {
            "name": run.name,
            "model": run.settings.model,
            "data": run.about["data"]["name"],
            "parameters": run.about["parameters"],
            "validation_accuracy": run.about["metrics"]["validation_accuracy"],
            "test_accuracy": tested,
            "seconds": run.about["seconds"]["train"],
            "report": None if tested is None else f"/v1/runs/{quote(run.name)}/report",
        }
    except (RunError, OSError, ValueError, KeyError, TypeError):
        return None


@router.get("/v1/runs/{name}/report", response_class=HTMLResponse)
async def report(request: Request, name: str) -> HTMLResponse:
    """The report page of an evaluated run, made when it is asked for."""
    parent = Path(request.app.state.settings.runs)
    if name not in [row["name"] for row in await asyncio.to_thread(listed, parent) if row["report"]]:
        raise Problem(404, "No such report", f"There is no evaluated run '{name[:80]}'. GET /v1/runs lists them.")
    page = await request.app.state.workers.call(report_of, str(parent / name), seconds=REPORT_SECONDS)
    return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


def report_of(folder: str) -> bytes:
    """The page of `guarismo report`, for a run on the data that it was trained on. Raises DataError and RunError."""
    from guarismo.data.sources import reload
    from guarismo.results.account import account
    from guarismo.results.report import page

    run = open_run(folder)
    return page(account([run], reload(run.about["data"]["origin"]))).encode()
