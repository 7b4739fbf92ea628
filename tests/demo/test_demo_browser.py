"""The page in a real browser: a person loads a video, clicks, tracks, corrects, and takes the tracks home."""

import shutil
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from retracker.media.track_files import read_tracks
from retracker.media.video import probe

NUM_FRAMES = 6  # of the clip
WIDTH, HEIGHT = 128, 96
MARGIN = 12  # px of the canvas around a frame that fits
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 120_000  # where many tests share a processor


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def address(net):
    """Where a real server listens, as long as the test runs."""
    uvicorn = pytest.importorskip("uvicorn", reason="the demo's web server is not installed")
    pytest.importorskip("starlette", reason="the demo's web server is not installed")
    from retracker.demo.server import Settings, build_app  # noqa: PLC0415 -- needs the optional packages

    app = build_app(Settings(net=net, max_upload_mb=1, hosts=frozenset({"127.0.0.1"})))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture
def tab(chromium, address):
    """The page, open; what it asked for and what went wrong in it."""
    page = chromium.new_page(viewport={"width": 1100, "height": 760})
    page.set_default_timeout(PATIENCE_MS)
    seen = SimpleNamespace(page=page, address=address, requests=[], errors=[])
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda line: seen.errors.append(line.text) if line.type == "error" else None)
    page.goto(address)
    yield seen
    page.close()


def place(page, x, y):
    """Where on the screen a position (px of the video) is when the frame fits."""
    box = page.locator("#stage").bounding_box()
    scale = min((box["width"] - 2 * MARGIN) / WIDTH, (box["height"] - 2 * MARGIN) / HEIGHT)
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return left + (x - WIDTH / 2) * scale, top + (y - HEIGHT / 2) * scale


def held(page):
    """The points as the server has them."""
    key = page.url.split("#")[1]
    return page.request.get(f"{page.url.split('#')[0]}api/sessions/{key}").json()["changed"]


def wait_for_points(page, count):
    page.wait_for_selector(f"#rows tr:nth-child({count})")
    assert page.locator("#rows tr").count() == count


def track(page):
    page.click("#track")
    page.wait_for_selector("#track:visible:disabled")
    assert page.inner_text("#track") == "All tracked"


def saved(page, kind, folder):
    with page.expect_download() as waiting:
        page.click(f'[data-kind="{kind}"]')
    assert waiting.value.suggested_filename == f"street_tracks.{kind}"
    waiting.value.save_as(folder / f"tracks.{kind}")
    return folder / f"tracks.{kind}"


def go(page, t):
    page.fill("#frame", str(t))
    page.press("#frame", "Enter")
    page.wait_for_selector(f'#stage[data-frame="{t}"]')


def test_a_person_clicks_tracks_corrects_and_takes_the_tracks_home(tab, clip, tmp_path):
    page = tab.page
    page.set_input_files("#file", clip)
    page.wait_for_selector('#stage[data-frame="0"]')
    assert "128 × 96 px · 6 frames · 8 frames/s" in page.inner_text("#clip")
    click_two_points_and_a_grid(page)
    track(page)
    page.wait_for_selector(f'#stage[data-frame="{NUM_FRAMES - 1}"]')  # watched live
    before = read_tracks(saved(page, "npz", tmp_path))
    drag_the_second_point_in_frame_3(page, before.tracks[3, 1].tolist())
    track(page)
    after, csv = read_tracks(saved(page, "npz", tmp_path)), read_tracks(saved(page, "csv", tmp_path))
    others = [0, 2, 3, 4, 5]
    assert torch.equal(after.tracks[:, others], before.tracks[:, others])
    assert torch.equal(after.tracks[:3, 1], before.tracks[:3, 1])
    assert torch.equal(csv.tracks, after.tracks) and torch.equal(csv.visible, after.visible)
    for n, point in enumerate(held(page)):
        np.testing.assert_allclose(after.tracks[point["t"], n], point["xy"], atol=0.006)  # told in hundredths
    film = probe(saved(page, "mp4", tmp_path))
    assert (film.width, film.height, film.num_frames) == (WIDTH, HEIGHT, NUM_FRAMES)
    page.reload()
    wait_for_points(page, 6)  # a page that is loaded again finds its video
    assert tab.errors == []
    asked = {url.split("/", 3)[2] for url in tab.requests if not url.startswith("blob:")}
    assert asked == {tab.address.removeprefix("http://")}


def click_two_points_and_a_grid(page):
    """The first in frame 0, the others in frame 1."""
    page.mouse.click(*place(page, 40, 30))
    wait_for_points(page, 1)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('#stage[data-frame="1"]')
    page.mouse.click(*place(page, 100, 70))
    wait_for_points(page, 2)
    page.fill("#grid-size", "2")
    page.click("#grid")
    wait_for_points(page, 6)
    anchors = [point["anchors"][0] for point in held(page)]
    assert [anchor[0] for anchor in anchors] == [0, 1, 1, 1, 1, 1]
    np.testing.assert_allclose([anchor[1:] for anchor in anchors[:2]], [[40, 30], [100, 70]], atol=0.2)


def drag_the_second_point_in_frame_3(page, start):
    go(page, 3)
    page.locator("#rows tr").nth(1).click()
    page.mouse.move(*place(page, *start))
    page.mouse.down()
    page.mouse.move(*place(page, 60, 50), steps=3)
    page.mouse.up()
    page.wait_for_selector("#track:enabled")
    assert page.inner_text("#track") == "Track 1 point"
    corrected = held(page)[1]
    assert [anchor[0] for anchor in corrected["anchors"]] == [1, 3]
    np.testing.assert_allclose(corrected["anchors"][1][1:], [60, 50], atol=0.5)


def test_a_file_that_is_no_video_is_refused_in_words_and_the_next_one_works(tab, clip, tmp_path):
    page = tab.page
    (tmp_path / "notes.txt").write_text("no video")
    page.set_input_files("#file", tmp_path / "notes.txt")
    page.wait_for_selector("#toast.bad")
    assert "notes.txt: is no video" in page.inner_text("#toast")
    (tmp_path / "large.mp4").write_bytes(b"x" * (2**20 + 1))
    page.set_input_files("#file", tmp_path / "large.mp4")
    page.wait_for_selector("#toast:has-text('large.mp4 is larger than 1 MB')")
    page.set_input_files("#file", clip)
    page.wait_for_selector('#stage[data-frame="0"]')


def test_a_click_in_a_zoomed_frame_lands_where_it_is_aimed(tab, clip):
    page = tab.page
    page.set_input_files("#file", clip)
    page.wait_for_selector('#stage[data-frame="0"]')
    at = place(page, 30, 60)
    page.mouse.move(*at)
    page.mouse.wheel(0, -1000)
    page.wait_for_selector("#zoom-fit:has-text('495')")
    page.mouse.click(*at)
    wait_for_points(page, 1)
    page.keyboard.press("Control+z")
    page.wait_for_selector("#no-points:visible")
    page.mouse.click(*at)
    wait_for_points(page, 1)
    np.testing.assert_allclose(held(page)[0]["anchors"][0], [0, 30, 60], atol=0.1)
