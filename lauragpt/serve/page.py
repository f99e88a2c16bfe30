"""The page at `/`: the files of lauragpt/page, as they are. The page asks what every other client asks.

In: a name below /page/. Out: the file, which a browser may keep as long as its ETag is that of the file. The style sheet stands in the page
itself, so that nothing is waited for before it is painted. Nothing that the page loads comes from elsewhere, which Content-Security-Policy
makes sure of.
"""

import base64
import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lauragpt.serve.problems import Problem

router = APIRouter(include_in_schema=False)
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}  # Starlette adds: UTF-8
LINK = b'<link rel="stylesheet" href="/page/style.css">'  # in index.html
RULES = (
    "default-src 'none'; script-src 'self'; style-src 'sha256-{style}'; connect-src 'self'; img-src 'self' blob:; media-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}  # fmt: skip


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """name -> (content, ETag) of all there is: no name that is sent is ever opened."""
    folder = resources.files("lauragpt") / "page"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in TYPES}
    found["index.html"] = found["index.html"].replace(LINK, b"<style>" + found["style.css"] + b"</style>")
    return {name: (data, f'"{hashlib.sha256(data).hexdigest()[:16]}"') for name, data in found.items()}


@cache
def rules() -> str:
    """Content-Security-Policy: no other style than this one."""
    style, _ = files()["style.css"]
    return RULES.format(style=base64.b64encode(hashlib.sha256(style).digest()).decode())


@router.get("/")
async def index(request: Request) -> Response:
    return sent(request, "index.html")


@router.get("/page/{name}")
async def file(request: Request, name: str) -> Response:
    return sent(request, name)


def sent(request: Request, name: str) -> Response:
    """Problem 404 where there is no such file."""
    if name not in files():
        raise Problem(404, "there is nothing at this path: the page is at /")
    data, tag = files()[name]
    headers = HEADERS | {"Content-Security-Policy": rules(), "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=TYPES[name.rpartition(".")[2]])
