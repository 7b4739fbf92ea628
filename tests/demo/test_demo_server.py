"""What the server takes in and what it refuses: one sentence, and never a path of its own."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retracker.demo.frames import FrameStore
from retracker.media.video import read_frames

NUM_FRAMES = 6  # of the clip
PLAYLIST = b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """The folder under which the server makes its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def upload(client, content, name="a.mp4", **headers):
    return client.post("/api/sessions", params={"name": name}, content=content, headers=headers)


def refused(reply, status, words):
    """The reply is one sentence with these words, and says nothing about where the server works."""
    assert reply.status_code == status, reply.text
    told = reply.json()
    assert list(told) == ["error"] and words in told["error"] and "\n" not in told["error"]
    for place in (tempfile.gettempdir(), str(Path.home()), "retracker-demo", "site-packages", "/upload"):
        assert place not in reply.text
    return told["error"]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_upload_becomes_a_session_with_the_facts_of_the_video(client, clip):
    told = upload(client, clip.read_bytes(), "My holiday.mp4").json()
    facts = {name: told[name] for name in ("name", "width", "height", "fps", "num_frames")}
    assert facts == {
        "name": "My holiday.mp4",
        "width": 128,
        "height": 96,
        "fps": 8.0,
        "num_frames": NUM_FRAMES,
    }
    assert (told["order"], told["job"]["condition"]) == ([], "done")
    assert client.get(f"/api/sessions/{told['session']}").json() == told


@pytest.mark.parametrize(
    "name",
    ["../../x.mp4", "/etc/passwd", "..\\..\\x.mp4", "a\0b\n.mp4", "", "...", "x" * 500, "%2e%2e%2fx.mp4"],
)
def test_no_name_escapes_the_work_folder(client, clip, work, name):
    told = upload(client, clip.read_bytes(), name).json()
    [stored] = files(work)
    assert stored.startswith("retracker-demo-") and stored.endswith("/upload.mp4")
    assert not set(told["name"]) & set("/\\\0\n") and 0 < len(told["name"]) <= 80
    client.post(f"/api/sessions/{told['session']}/points", json={"t": 0, "points": [[1, 2]]})
    reply = client.get(f"/api/sessions/{told['session']}/download/npz")
    disposition = reply.headers["content-disposition"]
    assert reply.status_code == 200 and ".." not in disposition and "/" not in disposition


def test_a_file_that_says_it_is_too_large_is_refused_at_once(client, work):
    refused(upload(client, b"x" * (2**20 + 1), "big.mp4"), 413, "big.mp4: is larger than 1 MB")
    assert files(work) == []


def test_a_file_that_grows_too_large_is_refused_on_the_way(client, work):
    def in_pieces():  # whose number nobody tells
        yield from [b"\0" * 2**16] * 17

    refused(upload(client, in_pieces(), "big.mp4"), 413, "larger than 1 MB")
    assert files(work) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.mp4: is empty"),
        (b"hello, this is text", "is no video"),
        (PLAYLIST, "is no video"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "is no video"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 400, "a.mp4: cannot be read as a video"),
    ],
)
def test_what_is_no_video_gets_one_sentence_and_leaves_nothing(client, work, content, words):
    refused(upload(client, content), 400, words)
    assert files(work) == []


def test_a_video_that_breaks_off_is_refused(client, clip, work):
    whole = clip.read_bytes()
    refused(upload(client, whole[: len(whole) // 2]), 400, "a.mp4: cannot be read as a video")
    assert files(work) == []


def test_frames_are_those_of_the_video(page, clip):
    for t in (3, 0, NUM_FRAMES - 1):
        reply = page.client.get(f"/api/sessions/{page.key}/frames/{t}")
        shown = np.asarray(Image.open(io.BytesIO(reply.content)), np.float32)
        expected = read_frames(clip, [t])[0].permute(1, 2, 0).numpy()
        assert reply.headers["content-type"] == "image/jpeg"
        assert np.abs(shown - expected).mean() < 4  # grey values; JPEG's loss
    refused(page.client.get(f"/api/sessions/{page.key}/frames/{NUM_FRAMES}"), 404, "no frame 6")


def test_frames_of_a_video_that_ends_sooner_than_it_says_are_shown(clip):
    store = FrameStore(clip, (128, 96))
    whole = FrameStore(clip, (128, 96)).jpeg(NUM_FRAMES - 1, NUM_FRAMES)
    assert store.jpeg(NUM_FRAMES - 1, NUM_FRAMES + 2) == whole
    with pytest.raises(ValueError, match=f"ends before frame {NUM_FRAMES}"):
        store.jpeg(NUM_FRAMES, NUM_FRAMES + 2)


@pytest.mark.parametrize("digits", [30, 5000])
def test_a_number_of_thousands_of_digits_is_no_frame(page, digits):
    assert page.client.get(f"/api/sessions/{page.key}/frames/{'9' * digits}").status_code == 404


@pytest.mark.parametrize("path", ["", "/frames/0", "/progress", "/download/npz"])
def test_an_unknown_session_is_not_there(client, path):
    refused(client.get(f"/api/sessions/nobody{path}"), 404, "no longer here")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"t": 0, "points": [[200.0, 5.0]]}, "(200, 5) lies outside the frame of 128 x 96 px"),
        ({"t": 6, "points": [[2.0, 5.0]]}, "no frame 6"),
        ({"t": -1, "points": [[2.0, 5.0]]}, "no frame -1"),
        ({"t": 0.5, "points": [[2.0, 5.0]]}, "t: expected a whole number"),
        ({"t": 0, "points": []}, "points: expected pairs"),
        ({"t": 0, "points": [[1, "2"]]}, "points: expected pairs"),
        ({"t": 0, "points": [[1, True]]}, "points: expected pairs"),
        ({"t": 0}, "points: expected pairs"),
        ({"t": 0, "grid": 41}, "1 to 40 points a side"),
        ([], "expected a JSON object"),
    ],
)
def test_bad_points_are_refused_by_name(page, body, words):
    reply = page.client.post(f"/api/sessions/{page.key}/points", json=body)
    refused(reply, 400, words)
    assert page.ask("GET")["order"] == []


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"t": 0, "points": [[NaN, 1]]}', b"[" * 100_000])
def test_broken_json_is_refused(page, body):
    reply = page.client.post(f"/api/sessions/{page.key}/points", content=body)
    assert reply.status_code == 400 and "error" in reply.json()


def test_what_is_not_there_is_said(page):
    refused(page.client.get("/nothing"), 404, "Not Found")
    refused(page.client.get("/page/../server.py"), 404, "Not Found")
    refused(page.client.get("/page/%2e%2e/server.py"), 404, "Not Found")
    refused(page.client.delete(f"/api/sessions/{page.key}/points/7"), 404, "no point 7")
    refused(page.client.get(f"/api/sessions/{page.key}/download/exe"), 404, "npz, csv, mp4")
    refused(page.client.get(f"/api/sessions/{page.key}/download/npz"), 409, "no points yet")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_another_sites_page_may_change_nothing(page, headers):
    address = f"/api/sessions/{page.key}/points"
    reply = page.client.post(address, json={"t": 0, "grid": 2}, headers=headers)
    refused(reply, 403, "another site's page")
    assert page.ask("GET")["order"] == []


def test_the_page_itself_may(page):
    headers = {"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}
    address = f"/api/sessions/{page.key}/points"
    assert page.client.post(address, json={"t": 0, "grid": 2}, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "localhost.evil.example", "[half", ""])
def test_a_name_that_was_led_here_is_refused(client, host):
    refused(client.get("/api/hello", headers={"host": host}), 403, "not reached under that name")


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for path in ("/", "/page/app.js", "/api/hello", "/api/sessions/nobody"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_nothing_of_other_hosts(client):
    page = Path(__file__).parents[2] / "retracker/demo/page"
    for file in page.iterdir():
        text = client.get(f"/page/{file.name}").text
        assert "//" not in text.replace("// ", "").replace("http://www.w3.org/2000/svg", ""), file.name
        assert "style=" not in text and "onclick" not in text and "innerHTML" not in text


def test_the_oldest_session_makes_way(client, clip, work):
    keys = [upload(client, clip.read_bytes()).json()["session"] for _ in range(9)]
    assert client.get(f"/api/sessions/{keys[0]}").status_code == 404
    assert client.get(f"/api/sessions/{keys[1]}").status_code == 200
    assert len(files(work)) == 8
    client.delete(f"/api/sessions/{keys[1]}")
    assert len(files(work)) == 7


def test_nothing_is_left_when_the_server_ends(client, clip, work):
    upload(client, clip.read_bytes())
    client.__exit__(None, None, None)
    assert list(work.iterdir()) == []
    client.__enter__()


def test_the_film_that_the_server_was_started_with_stays(net, clip):
    testclient = pytest.importorskip("starlette.testclient", reason="the demo's web server is not installed")
    from retracker.demo.server import Settings, build_app  # noqa: PLC0415 -- needs the optional packages
    from retracker.demo.session import open_clip  # noqa: PLC0415

    settings = Settings(net=net, hosts=frozenset({"localhost"}), clip=open_clip(clip, "street.mp4"))
    with testclient.TestClient(build_app(settings), base_url="http://localhost") as visitor:
        first = visitor.get("/api/hello").json()["session"]
        assert (
            visitor.delete(f"/api/sessions/{first}", headers={"origin": "http://localhost"}).status_code
            == 200
        )
        assert visitor.get("/api/hello").json()["session"] == first
        assert visitor.get(f"/api/sessions/{first}").json()["name"] == "street.mp4"
