"""Archives that nobody can read: every reader of .npz files says so in a sentence that names the file."""

from functools import partial

import numpy as np
import pytest

from retracker.commands.tables import read_queries
from retracker.data import safe_pickle
from retracker.data.npz import npz_names, read_npz_array
from retracker.data.scene_info import IndexFiles, read_overlap_matrix
from retracker.media.features import read_features
from retracker.media.track_files import read_tracks

ARRAYS = {
    "tracks": np.zeros((3, 2, 2)),
    "visible": np.ones((3, 2)),
    "confidence": np.ones((3, 2)),
    "keypoints": np.ones((4, 2)),
    "descriptors": np.ones((4, 8)),
    "queries": np.ones((2, 3)),
    "image_paths": np.array(["a.jpg", "b.jpg"]),
    "depth_paths": np.array(["a.h5", "b.h5"]),
    "intrinsics": np.stack([np.eye(3)] * 2),
    "poses": np.stack([np.eye(4)] * 2),
    "overlap_matrix": np.full((2, 2), 0.5),
    "scale_ratio_matrix": np.ones((2, 2)),
}


def names_and_first_array(path):
    return read_npz_array(path, npz_names(path)[0])


INDEX = IndexFiles(folder=".", scenes=None, without=(), min_overlap=0.0, max_overlap=1.0, max_pairs=None)
READERS = {
    "queries": read_queries,
    "D2-Net": partial(read_overlap_matrix, index=INDEX, max_scale_ratio=2.0),
    "tracks": read_tracks,
    "features": partial(read_features, size=(8, 8), pixel_centre=0.5),
    "arrays": names_and_first_array,
    "pickles": safe_pickle.load,
}


def encrypted(content):
    """APPNOTE.TXT 4.4.4: bit 0 of the flags of each local header, and of the central directory's."""
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 4)


def strangely_compressed(content):
    """4.4.5: method 97 (WavPack), which Python does not know."""
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(signature)
        while at >= 0:
            content[at + method] = 97
            at = content.find(signature, at + 4)


def misplaced(content):
    """4.3.16: the central directory said to be farther on than it is, so that all lies before the start."""
    content[content.rfind(b"PK\x05\x06") + 18] += 16


@pytest.mark.parametrize("damage", [encrypted, strangely_compressed, misplaced])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_broken_archive_is_named(read, damage, tmp_path):
    path = tmp_path / "broken.npz"
    np.savez(path, **ARRAYS)
    read(path)
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.npz"):
        read(path)
