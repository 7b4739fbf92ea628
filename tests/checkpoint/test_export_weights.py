"""tools/export_weights.py keeps what load needs."""

import runpy
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "export_weights.py"


def test_a_user_mistake_is_one_line_and_exit_code_2(tmp_path, capsys):
    main = runpy.run_path(str(TOOL))["main"]
    assert main([str(tmp_path / "none.ckpt"), str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
