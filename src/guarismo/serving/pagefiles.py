"""The page and its files: what lies in `page/`, read once, with an ETag of its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from guarismo.serving.problems import Problem

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class PageFile:
    """Content, its type, and the mark by which a browser asks whether it has it already."""

    content: bytes
    type: str
    mark: str


@cache
def page_files() -> dict[str, PageFile]:
    """Name → file, for every file of the page; nothing else can be asked for."""
    files = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            mark = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            files[path.name] = PageFile(content, TYPES[path.suffix], mark)
    return files


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return answer(request, "index.html")


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    return answer(request, name)


def answer(request: Request, name: str) -> Response:
    """The file, or 304 where the browser has it. Raises Problem 404."""
    file = page_files().get(name)
    if file is None:
        raise Problem(404, "Not Found", f"The page has no file '{name[:80]}'.")
    headers = {"ETag": file.mark, "Cache-Control": "no-cache"}
    if file.mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.type)
