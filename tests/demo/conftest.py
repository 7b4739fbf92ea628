"""A server of the demo in this process, with a small clip and a tiny net of random weights."""

import time
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.video import write_video

NUM_FRAMES = 6


@pytest.fixture(scope="session")
def net():
    """The tiny net with random weights, working on 64 x 64 px and calling every point visible."""
    config = OmegaConf.to_container(compose_config("train", []).model)
    torch.manual_seed(0)
    return build_net(config | {"image_size": 64, "visible_threshold": -1.0}).eval()


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video file of ``NUM_FRAMES`` frames of 128 x 96 px."""
    path = tmp_path_factory.mktemp("clips") / "street.mp4"
    video = Synthetic(length=1, difficulty="easy", num_frames=NUM_FRAMES, num_points=2, size=128, seed=0)[
        0
    ].video
    write_video(path, video[..., :96, :], fps=8)
    return path


@pytest.fixture
def client(net):
    """A browser without a window, and the settings of the server it talks to."""
    pytest.importorskip("uvicorn", reason="the demo's web server is not installed")
    testclient = pytest.importorskip("starlette.testclient", reason="needs starlette and httpx")
    from retracker.demo.server import Settings, build_app  # noqa: PLC0415 -- needs the optional packages

    settings = Settings(net=net, max_upload_mb=1, hosts=frozenset({"localhost"}))
    with testclient.TestClient(build_app(settings), base_url="http://localhost:7860") as client:
        yield client


@pytest.fixture
def page(client, clip):
    """What the page does with the clip open: ask(method, path, body) -> the reply's JSON."""
    key = client.post("/api/sessions?name=street.mp4", content=clip.read_bytes()).json()["session"]

    def ask(method, path="", body=None, status=200):
        reply = client.request(method, f"/api/sessions/{key}{path}", json=body)
        assert reply.status_code == status, reply.text
        return reply.json()

    def track(*, backward=False):
        ask("POST", "/track", {"backward": backward})
        while (progress := ask("GET", "/progress"))["condition"] in ("waiting", "running"):
            time.sleep(0.02)
        return progress

    def download(kind, folder):
        reply = client.get(f"/api/sessions/{key}/download/{kind}")
        assert reply.status_code == 200, reply.text
        path = folder / f"tracks.{kind}"
        path.write_bytes(reply.content)
        return path

    return SimpleNamespace(key=key, ask=ask, track=track, download=download, client=client)
