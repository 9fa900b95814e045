"""A web server over one folder that honours Range: `web_server.py FOLDER PORT`, on 127.0.0.1."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


def make_app(folder: str) -> Starlette:
    """The application that serves the folder's files."""
    return Starlette(routes=[Mount("/", StaticFiles(directory=folder))])


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
