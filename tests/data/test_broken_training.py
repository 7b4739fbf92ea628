"""What training says of data that cannot be read."""

import pytest
from layouts.tracks_folder import LAYOUT
from layouts.truth import rendered
from small_training import FROM_FOLDERS

from retracker.train import main


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_on_broken_files_stops_with_one_line_that_names_them(num_workers, tmp_path, capsys):
    LAYOUT.write(tmp_path / "tracks_folder", [rendered(seed) for seed in (11, 12)])
    for frame in (tmp_path / "tracks_folder").glob("*/*.png"):
        frame.write_bytes(frame.read_bytes()[:100])
    folders = (f"data_root={tmp_path}", f"paths.output_dir={tmp_path / 'out'}")
    assert main([*FROM_FOLDERS, "total_steps=20", *folders, f"data.num_workers={num_workers}"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: 10 of 10 samples of tracks_folder could not be read") and ".png" in last
