"""TAP-Vid's four sets: what is read from files in exactly the public structure."""

import pickle

import numpy as np
import pytest
import torch
from layouts.tapvid import as_jpeg, write_davis, write_kinetics, write_rgb_stacking, write_robotap
from layouts.truth import rendered
from PIL import Image

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tapvid import TapVidBenchmark
from retracker.benchmarks.tracking import queries_txy

WRITE = {
    "davis": write_davis,
    "rgb_stacking": write_rgb_stacking,
    "kinetics": write_kinetics,
    "robotap": write_robotap,
}
NEEDS = {
    "davis": ["tapvid_davis/tapvid_davis.pkl", "tapvid_davis.pkl"],
    "rgb_stacking": ["tapvid_rgb_stacking/tapvid_rgb_stacking.pkl"],
    "kinetics": ["tapvid_kinetics/*_of_0010.pkl", "*_of_0010.pkl"],
    "robotap": ["robotap/robotap_split*.pkl", "robotap_split*.pkl"],
}


def open_set(root, subset="davis", query_mode="first", resolution=256):
    return TapVidBenchmark("named", str(root), NEEDS[subset], subset, query_mode, resolution)


def video(num_frames=3, height=6, width=8, **changed):
    """Point 0 stands still, point 1 is hidden in frame 0, point 2 always."""
    points = np.array([[[0.25, 0.5]], [[0.5, 0.25]], [[0.1, 0.1]]], np.float32).repeat(num_frames, 1)
    hidden = np.zeros((3, num_frames), bool)
    hidden[1, :1], hidden[2] = True, True
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8)
    return {"video": frames, "points": points, "occluded": hidden} | changed


def davis(root, *videos, **options):
    content = {f"goat{n}": one for n, one in enumerate(videos)}
    (root / "tapvid_davis.pkl").write_bytes(pickle.dumps(content))
    return open_set(root, **options)


def oracle(item):
    """Answers with the truth of an item, in whichever direction it is shown."""

    def track(seen, queries):
        backwards = not torch.equal(seen, item.video)
        asked = queries_txy(item)
        if backwards:
            asked = torch.cat([len(seen) - 1 - asked[:, :1], asked[:, 1:]], -1)
        assert torch.equal(queries, asked)
        answer = Tracked(tracks=item.tracks.float(), visible=item.visible, confidence=item.visible.float())
        return answer.map(lambda x: x.flip(0)) if backwards else answer

    return track


@pytest.mark.parametrize("query_mode", ["first", "strided"])
@pytest.mark.parametrize("subset", WRITE)
def test_an_oracle_scores_exactly_one(tmp_path, subset, query_mode):
    WRITE[subset](tmp_path, [rendered(11), rendered(12)])
    benchmark = open_set(tmp_path, subset, query_mode)
    assert len(benchmark) == 2 and len({benchmark.item_name(i) for i in range(2)}) == 2
    scores = {}
    for index in range(2):
        item = benchmark.read(index)
        assert item.video.shape == (8, 3, 256, 256) and item.name.endswith(benchmark.item_name(index))
        scores[benchmark.item_name(index)] = benchmark.score(item, benchmark.ask(oracle(item), item))
    summary = benchmark.summarise(scores)
    assert set(summary.values.values()) == {1.0} and summary.undefined == {}


def test_truth_is_the_stored_number_times_256_in_float64(tmp_path):
    points = np.random.default_rng(0).random((3, 3, 2), np.float32)
    item = davis(tmp_path, video(points=points)).read(0)
    assert item.tracks.dtype == torch.float64
    np.testing.assert_array_equal(item.tracks.numpy(), 256 * points[:2].swapaxes(0, 1).astype(np.float64))


@pytest.mark.parametrize(("height", "width"), [(30, 40), (300, 270), (256, 300)])
def test_frames_are_resized_one_by_one_by_pils_lanczos(tmp_path, height, width):
    stored = video(num_frames=2, height=height, width=width)
    item = davis(tmp_path, stored).read(0)
    for frame, given in zip(stored["video"], item.video, strict=True):
        lanczos = Image.fromarray(frame).resize((256, 256), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(given.permute(1, 2, 0).numpy(), np.array(lanczos))


def test_jpeg_frames_are_decoded_as_pil_does(tmp_path):
    jpegs = [as_jpeg(frame) for frame in video(height=50, width=70)["video"]]
    (tmp_path / "0000_of_0010.pkl").write_bytes(pickle.dumps([video(video=np.array(jpegs))]))
    path = tmp_path / "0.jpg"
    path.write_bytes(jpegs[1])
    given = open_set(tmp_path, "kinetics", resolution="native").read(0).video[1]
    np.testing.assert_array_equal(given.permute(1, 2, 0).numpy(), np.array(Image.open(path)))


def test_first_asks_for_each_point_where_it_is_first_visible_and_leaves_out_those_that_never_are(tmp_path):
    item = davis(tmp_path, video()).read(0)
    assert item.queries.frame.tolist() == [0, 1]
    assert item.queries.xy.tolist() == [[64.0, 128.0], [128.0, 64.0]]
    assert item.visible.T.tolist() == [[True] * 3, [False, True, True]]
    assert item.labelled.all() and torch.equal(item.located, item.visible)


def test_strided_queries_come_in_the_order_of_an_independent_writing(tmp_path):
    rng = np.random.default_rng(3)
    points, hidden = rng.random((7, 13, 2), np.float32), rng.random((7, 13)) < 0.4
    expected = []  # (frame, point)
    for frame in (0, 5, 10):
        expected += [(frame, point) for point in range(7) if not hidden[point, frame]]
    stored = video(num_frames=13, points=points, occluded=hidden)
    item = davis(tmp_path, stored, query_mode="strided").read(0)
    assert item.queries.frame.tolist() == [frame for frame, _ in expected]
    for query, (frame, point) in enumerate(expected):
        whole = 256 * points[point].astype(np.float64)
        np.testing.assert_array_equal(item.queries.xy[query].numpy(), whole[frame])
        np.testing.assert_array_equal(item.tracks[:, query].numpy(), whole)
        np.testing.assert_array_equal(item.visible[:, query].numpy(), ~hidden[point])


def test_a_point_that_is_called_visible_outside_the_frame_stays_visible(tmp_path):
    stored = video()
    stored["points"][0] = 1.001, -0.002
    benchmark = davis(tmp_path, stored)
    item = benchmark.read(0)
    assert item.visible[:, 0].all() and benchmark.protocol["queries_outside"] == "asked for on the border"
    assert item.queries.xy[0].tolist() == pytest.approx([256.256, -0.512], rel=1e-6)
    assert queries_txy(item)[0].tolist() == [0.0, 256.0, 0.0]  # what a tracker is asked for


def test_a_hidden_point_may_be_nowhere_but_a_visible_one_may_not(tmp_path):
    stored = video()
    stored["points"][1, 0] = np.nan
    item = davis(tmp_path, stored).read(0)
    assert item.tracks.isfinite().all() and not item.located[0, 1]
    stored["points"][0, 2, 1] = np.nan
    with pytest.raises(ValueError, match="tapvid_davis.pkl: video 'goat0': point 0 is visible in frame 2"):
        davis(tmp_path, stored).read(0)


def test_other_inputs_than_256_are_a_category_of_their_own(tmp_path):
    usual = davis(tmp_path, video(height=60, width=80))
    assert usual.protocol["category"] == "standard" and usual.protocol["input"] == "256 x 256"
    native = davis(tmp_path, video(height=60, width=80), resolution="native")
    assert "native input" in native.title and "not to be compared" in native.protocol["category"]
    assert native.read(0).video.shape[-2:] == (60, 80)
    assert native.read(0).queries.xy[0].tolist() == [20.0, 30.0]
    larger = davis(tmp_path, video(height=60, width=80), resolution=512)
    assert "512 x 512 input" in larger.title and larger.read(0).video.shape[-2:] == (512, 512)
    assert larger.read(0).queries.xy[0].tolist() == [128.0, 256.0]


@pytest.mark.parametrize("resolution", [0, "large"])
def test_what_is_no_resolution_is_told(resolution):
    with pytest.raises(ValueError, match="resolution: expected a number of pixels or 'native', got"):
        open_set("anywhere", resolution=resolution)


def test_a_set_that_is_not_whole_says_so(tmp_path):
    write_kinetics(tmp_path, [rendered(11)] * 3)
    (tmp_path / "tapvid_kinetics" / "0001_of_0010.pkl").unlink()
    benchmark = open_set(tmp_path, "kinetics")
    assert benchmark.title == "TAP-Vid Kinetics, first (2 of 1189 videos)"
    assert benchmark.protocol["videos"] == "2 of 1189"
    assert benchmark.protocol["missing_files"].startswith("0001_of_0010.pkl, 0003_of_0010.pkl, 0004")
    whole = davis(tmp_path, *[video()] * 30, query_mode="strided")
    assert whole.title == "TAP-Vid DAVIS, strided" and "missing_files" not in whole.protocol


def test_videos_of_one_name_in_two_splits_are_told_apart(tmp_path):
    names = (("cup", "ball"), ("cup", "box"))
    for split, keys in enumerate(names):
        content = pickle.dumps({key: video() for key in keys})
        (tmp_path / f"robotap_split{split}.pkl").write_bytes(content)
    benchmark = open_set(tmp_path, "robotap")
    named = [benchmark.item_name(i) for i in range(4)]
    assert named == ["robotap_split0/cup", "ball", "robotap_split1/cup", "box"]
    assert [benchmark.group(i) for i in range(4)] == ["robotap_split0"] * 2 + ["robotap_split1"] * 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"occluded": np.full((3, 3), 0.5)}, "expected 0 or 1 in occluded"),
        ({"occluded": np.ones((3, 3), bool)}, "no point is visible where queries are taken from"),
        ({"video": np.zeros((3, 6, 8, 3), np.float32)}, "frame 0 of video 'goat0': expected uint8 of"),
        ({"video": np.zeros((3, 6, 8), np.uint8)}, "frame 0 of video 'goat0': expected uint8 of"),
        ({"video": [np.zeros((n, 8, 3), np.uint8) for n in (6, 7, 6)]}, "frames of more than one size"),
        ({"video": ["a", "b", "c"]}, "or a JPEG file"),
        ({"video": np.zeros((3, 0, 8, 3), np.uint8)}, "frame 0 of video 'goat0' has no pixel"),
        ({"points": 200 * video()["points"]}, r"expected points in \[0, 1\], but visible ones are at"),
    ],
)
@pytest.mark.parametrize("resolution", [256, "native"])
def test_what_is_wrong_with_a_video_is_told_in_one_sentence(tmp_path, changed, told, resolution):
    benchmark = davis(tmp_path, video(**changed), resolution=resolution)
    with pytest.raises(ValueError, match=told) as caught:
        benchmark.read(0)
    assert "tapvid_davis.pkl" in str(caught.value) and "goat0" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "has no videos"),
        ({b"goat": video()}, "expected names of videos, got a bytes"),
        ({"goat": video(num_frames=0)}, "video 'goat' has no frames"),
        ({"goat": video(points=np.full((3, 3, 2), "a"))}, "has points"),
        ({"goat": {"video": video()["video"]}}, "is no dict of video, points and occluded"),
    ],
)
def test_a_file_that_is_not_the_benchmark_is_refused_before_anything_runs(tmp_path, content, told):
    (tmp_path / "tapvid_davis.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=told) as caught:
        open_set(tmp_path)
    assert "tapvid_davis.pkl" in str(caught.value) and "\n" not in str(caught.value)


def test_a_benchmark_that_is_not_there_or_is_another_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="has nothing of TAP-Vid DAVIS; expected tapvid_davis/"):
        open_set(tmp_path)
    (tmp_path / "robotap_split7.pkl").write_bytes(pickle.dumps({"cup": video()}))
    with pytest.raises(ValueError, match="robotap_split7.pkl: is not of RoboTAP, whose files are "):
        open_set(tmp_path, "robotap")
    with pytest.raises(ValueError, match="expected as subset one of davis, rgb_stacking, kinetics, robotap"):
        TapVidBenchmark("named", str(tmp_path), ["*"], "davos", "first", 256)
    with pytest.raises(ValueError, match="query_mode: expected one of first, strided, got 'last'"):
        davis(tmp_path, video(), query_mode="last")


def test_robotap_also_measures_points_that_come_back(tmp_path):
    # Three visible frames, hidden in two, back for two: found again in the last of them only.
    points = np.full((1, 7, 2), 0.5, np.float32)
    hidden = np.array([[False, False, False, True, True, False, False]])
    frames = np.zeros((7, 6, 8, 3), np.uint8)
    content = {"v": {"video": frames, "points": points, "occluded": hidden}}
    (tmp_path / "robotap_split0.pkl").write_bytes(pickle.dumps(content))
    benchmark = open_set(tmp_path, "robotap")
    item = benchmark.read(0)
    off = torch.zeros_like(item.tracks)
    off[5, 0, 0] = 16.5  # px
    answer = Tracked(tracks=item.tracks + off, visible=item.visible, confidence=item.visible.float())
    scores = benchmark.score(item, answer)
    assert scores["average_jaccard_redetection"] == pytest.approx(1 / 3, abs=1e-15)
    assert "AJ_RD" in benchmark.protocol and benchmark.columns[-1].metric == "average_jaccard_redetection"
    strided = open_set(tmp_path, "robotap", query_mode="strided")
    assert "AJ_RD" not in strided.protocol and strided.columns[-1].heading == "<16 px"
