"""The page in a real browser, of a recording and of a running simulation.

Needs Chromium (`apt-get install chromium`); ALPAMAYO_SCREENSHOTS names a folder to keep the pictures in.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Browser, find_browser
from view_factory import CAMERAS

from alpamayo_ros.view.playback import Playback
from alpamayo_ros.view.web import WebView

PROGRAM = find_browser()
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium: apt-get install chromium"),
]

DESKTOP, PHONE = (1400, 900), (390, 844)
LOADED = "[...document.images].filter((i) => i.complete && i.naturalWidth > 0 && i.naturalHeight > 0).length"
WORDS = "document.getElementById('now').textContent"
STRIP = "document.getElementById('strip').toDataURL()"


@contextmanager
def browser(size: tuple[int, int]) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, width=size[0], height=size[1]) as opened:
        yield opened


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ALPAMAYO_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def colours_of(path: Path) -> int:
    image = cv2.imread(str(path))
    assert image is not None
    return len(np.unique(image.reshape(-1, 3), axis=0))


def assert_fits(page: Browser) -> None:
    """Nothing reaches beyond the window's width, and no text lies outside of its section."""
    wide = page.ask("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{wide} px wider than the window"
    outside = """[...document.querySelectorAll('main > section')].filter((section) => {
        const box = section.getBoundingClientRect();
        return box.width < 100 || box.height < 60;
    }).map((section) => section.id)"""
    assert page.ask(outside) == []


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_a_recording_plays_in_a_browser(view_bag, shots, name, size):
    playback = Playback(view_bag, loop=True, rate=0.5)
    view = WebView(playback, host="127.0.0.1", port=0)
    try:
        with browser(size) as page:
            page.open(f"http://127.0.0.1:{view.port}/")
            page.until(f"{LOADED} === {len(CAMERAS)}", "pictures of all cameras")
            words = page.until(f"{WORDS}.startsWith('Reason ') && {WORDS}", "reasoning")
            page.until(f"{WORDS} !== {words!r}", "other words")
            page.ask(f"window.stripThen = {STRIP}; 0")
            page.until(f"{STRIP} !== window.stripThen", "a strip that moves")
            assert page.ask("document.getElementById('status').textContent") == "VALID"
            assert page.ask("document.querySelectorAll('#rows details').length") == 1
            assert page.ask("document.getElementById('mode').textContent") == "RECORDING"
            assert_fits(page)
            page.screenshot(shots / f"recording-{name}.png", whole=size == PHONE)
            page.ask("document.getElementById('play').click()")
            page.until("document.getElementById('play').textContent === '▶'", "the pause")
            assert playback.standing.state.value == "paused"
            page.ask(
                "(() => { const s = document.getElementById('seek'); s.value = 500;"
                " s.dispatchEvent(new Event('change')); })()"
            )
            page.until("document.getElementById('clock').textContent.startsWith('1.0 /')", "the seek")
            assert page.complaints == []
        assert colours_of(shots / f"recording-{name}.png") > 100
    finally:
        view.close()
        playback.close()


def test_a_picture_for_the_docs(shots):
    """Draws web.png and web-phone.png; see docs/VIEWING.md for the command."""
    bag, at_s = os.environ.get("ALPAMAYO_VIEW_BAG"), float(os.environ.get("ALPAMAYO_VIEW_AT", "10"))
    if bag is None:
        pytest.skip("ALPAMAYO_VIEW_BAG names no recording to make docs/images/web.png of")
    playback = Playback(bag)
    view = WebView(playback, host="127.0.0.1", port=0)
    try:
        for name, size in (("web", DESKTOP), ("web-phone", PHONE)):
            with browser(size) as page:
                playback.control(seek_ns=playback.start_ns + round(max(at_s - 8, 0) * 1e9), playing=True)
                page.open(f"http://127.0.0.1:{view.port}/")
                clock = "parseFloat(document.getElementById('clock').textContent)"
                page.until(f"{LOADED} > 0 && {clock} >= {at_s}", "the moment", timeout_s=120)
                playback.control(playing=False)
                # What was sent before the pause is still to be drawn.
                page.until(
                    f"{WORDS} !== 'Waiting for a plan …' && {LOADED} === document.images.length", "all"
                )
                page.call(
                    "Runtime.evaluate", expression="new Promise(requestAnimationFrame)", awaitPromise=True
                )
                page.screenshot(shots / f"{name}.png", whole=size == PHONE)
                assert colours_of(shots / f"{name}.png") > 1000
                assert page.complaints == []
    finally:
        view.close()
        playback.close()


def test_a_page_finds_its_server_again(view_bag):
    playback = Playback(view_bag, loop=True)
    view = WebView(playback, host="127.0.0.1", port=0)
    port = view.port
    with browser(DESKTOP) as page:
        page.open(f"http://127.0.0.1:{port}/")
        page.until("document.getElementById('link').classList.contains('on')", "the connection")
        view.close()
        playback.close()
        page.until("!document.getElementById('link').classList.contains('on')", "its loss")
        again = Playback(view_bag, loop=True)
        view = WebView(again, host="127.0.0.1", port=port)
        try:
            page.until("document.getElementById('link').classList.contains('on')", "the connection, again")
            page.until(f"{LOADED} === {len(CAMERAS)}", "pictures")
        finally:
            view.close()
            again.close()


# Nobody else's simulation is to be in the picture, not even another run's of this test.
ENVIRONMENT = {"ROS_DOMAIN_ID": str(50 + os.getpid() % 50), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def command(*arguments: str, **streams: object) -> subprocess.Popen[str]:
    code = "import sys; from alpamayo_ros.cli.main import main; sys.exit(main())"
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        text=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
        **streams,  # type: ignore[call-overload]
    )


def test_a_running_simulation_is_shown_live(shots, tmp_path):
    log = (tmp_path / "sim.log").open("w")
    driving = command(
        "run",
        "sim",
        "--planner",
        "expert",
        "--scenarios",
        "pedestrian-11",
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    viewing = command("view", "--web", "--port", "0", stdout=subprocess.PIPE)
    try:
        assert viewing.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", viewing.stdout.readline())
        assert found
        with browser(DESKTOP) as page:
            page.open(f"http://127.0.0.1:{found[1]}/")
            page.until(f"{LOADED} === {len(CAMERAS)}", "pictures of all cameras", timeout_s=300)
            page.until(
                "document.getElementById('status').textContent === 'VALID'", "a valid plan", timeout_s=300
            )
            page.until("document.querySelectorAll('#rows details').length > 0", "diagnostics", timeout_s=120)
            page.ask(f"window.stripThen = {STRIP}; 0")
            page.until(f"{STRIP} !== window.stripThen", "a strip that moves", timeout_s=120)
            assert page.ask("document.getElementById('mode').textContent") == "LIVE"
            assert page.ask(WORDS) not in ("", "Waiting for a plan …")
            assert_fits(page)
            page.screenshot(shots / "live.png")
            assert page.complaints == []
        assert colours_of(shots / "live.png") > 1000
    finally:
        for process in (viewing, driving):
            process.terminate()
        for process in (viewing, driving):
            process.communicate(timeout=120)
        log.close()
