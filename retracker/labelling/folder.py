"""The folder that labels are written to: what ``tracks_folder`` reads, and a record of what was done.

<labels>/settings.json                     what all labels were made with
<labels>/train/<film>/000120.mp4 .npz      a clip of the film from frame 120 on, and its labels
<labels>/train/<film>/000120.json          what came of that clip, also where nothing was kept
<labels>/held_out/<film>/...               the same, of the end of each film
<labels>/films/<film>.json                 the film is done
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from retracker.labelling.agreement import Labels
from retracker.media.files import replacing
from retracker.media.sources import pictures_in
from retracker.media.video import write_video

PARTS = ("train", "held_out")
PROBE = 2**16  # bytes at both ends of a film that tell it from others
FPS = 12.0  # of clips whose film does not say


@dataclass(frozen=True)
class Film:
    """A film or folder of frames by content: the same one elsewhere or under another path is the same."""

    path: Path
    name: str  # of its folders

    @property
    def number(self) -> int:
        """A number of its own, to draw from."""
        return int(self.name.rpartition("-")[2], 16)


def as_film(path: Path) -> Film:
    """What a path holds. Raises FileNotFoundError if nothing is there."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    digest = hashlib.sha256()
    if path.is_dir():
        pictures = pictures_in(path)
        digest.update("\n".join(picture.name for picture in pictures).encode())
        digest.update(pictures[0].read_bytes() if pictures else b"")
    else:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(str(size).encode() + file.read(PROBE))
            file.seek(max(0, size - PROBE))
            digest.update(file.read(PROBE))
    stem = "".join(c if c.isalnum() or c in "-_ " else "_" for c in path.stem) or "film"
    return Film(path=path, name=f"{stem}-{digest.hexdigest()[:8]}")


class LabelFolder:
    """Labels on disk. Raises ValueError if the folder holds labels that were made with other settings."""

    def __init__(self, root: Path, settings: Mapping[str, object]) -> None:
        self.root = root
        path = root / "settings.json"
        settings = json.loads(json.dumps(dict(settings)))
        if not path.exists():
            _write_json(path, settings)
            return
        there = read_json(path)
        for key in {**settings, **there}:
            if there.get(key) != settings.get(key):
                raise ValueError(
                    f"{root}: holds labels made with {key}={_brief(there.get(key))}, "
                    f"not {_brief(settings.get(key))}: name another folder, or the same settings"
                )

    def is_done(self, film: Film) -> bool:
        """Whether all of a film has been labelled."""
        return self._film(film).exists()

    def finish(self, film: Film, record: Mapping[str, object]) -> None:
        """All of a film has been labelled."""
        _write_json(self._film(film), record)

    def has(self, film: Film, part: str, first: int) -> bool:
        """Whether a clip has been dealt with."""
        return self._clip(film, part, first).with_suffix(".json").exists()

    def note(self, film: Film, part: str, first: int, record: Mapping[str, object]) -> None:
        """Write down what came of a clip: it has been dealt with."""
        _write_json(self._clip(film, part, first).with_suffix(".json"), record)

    def save(
        self,
        film: Film,
        part: str,
        first: int,
        clip: tuple[UInt8[Tensor, "T 3 H W"], float | None],  # frames, and how many of them are a second
        labels: Labels,
    ) -> None:
        """Write a clip, and when it is there its labels, without which it counts for nothing."""
        path = self._clip(film, part, first)
        frames, fps = clip
        write_video(path.with_suffix(".mp4"), frames, fps or FPS)
        with replacing(path.with_suffix(".npz")) as partial:
            np.savez_compressed(
                partial,
                tracks=labels.tracks.numpy(),
                visible=labels.visible.numpy(),
                labelled=labels.labelled.numpy(),
                located=labels.located.numpy(),
            )

    def records(self, part: str) -> list[dict]:
        """What came of every clip of a part, in order."""
        return [read_json(path) for path in sorted((self.root / part).glob("*/*.json"))]

    def films(self) -> list[dict]:
        """The records of all films that are done."""
        return [read_json(path) for path in sorted((self.root / "films").glob("*.json"))]

    def _film(self, film: Film) -> Path:
        return self.root / "films" / f"{film.name}.json"

    def _clip(self, film: Film, part: str, first: int) -> Path:
        return self.root / part / film.name / f"{first:06d}"


def read_json(path: Path) -> dict:
    """A record. Raises ValueError, naming it, if it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); remove it, and label again") from error


def _brief(setting: object) -> str:
    """A setting, short enough for a sentence; of many parts their names and a digest."""
    if not isinstance(setting, Mapping):
        return str(setting)
    digest = hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:6]
    return f"{','.join(setting)} ({digest})"


def _write_json(path: Path, record: Mapping[str, object]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")
