"""A real headless Chromium for tests of pages. Where it is missing they are skipped, with the reason."""

import base64
import contextlib
import importlib.util
import io
import os
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), "")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
ORT_WEB = os.environ.get("GAN_REF_ORT_WEB", "")  # a folder in which npm installed onnxruntime-web 1.30.0

lacking = [
    *([] if CHROMIUM else ["chromium"]),
    *(name for name in ("playwright", "onnxscript") if not importlib.util.find_spec(name)),
]
needs_chromium = pytest.mark.skipif(bool(lacking), reason=f"needs {' and '.join(lacking)}")
needs_runtime = pytest.mark.skipif(
    not ORT_WEB, reason="needs GAN_REF_ORT_WEB, a copy of onnxruntime-web 1.30.0"
)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium with an empty profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opened(chromium: Any, address: str, ready: bool = True, **options: Any) -> Iterator[Any]:
    """The page at this address, in a context of its own. ``page.complaints`` has what its console said."""
    context = chromium.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.complaints, page.addresses = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.addresses.append(request.url))
    page.goto(address)
    if ready:
        page.wait_for_selector("body[data-ready]")
    yield page
    context.close()


def pixels(page: Any, canvas: str) -> np.ndarray:
    """What a canvas shows: uint8 (H, W, 3)."""
    address = page.evaluate("id => document.getElementById(id).toDataURL('image/png')", canvas)
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    return np.asarray(picture.convert("RGB"))


def wait(page: Any, condition: str, seconds: float = 60) -> None:
    """Wait for a condition. (Playwright's own wait_for_function needs eval, which the pages forbid.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.05)


class _Anyone(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")  # as a CDN does
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on the loopback interface."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), partial(_Anyone, directory=str(folder)))) as address:
        yield address


@contextlib.contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
