#!/usr/bin/env bash
# Train the weights that ship as "tiny", from nothing but this repository and XFeat's released weights:
#
#     bash tools/train_release.sh [hydra overrides, for both stages]
#
# Writes into outputs/release (RETRACKER_OUT), scores the result on synthetic_val, and puts it into
# retracker/weights/tiny.safetensors. Run again after an interruption, it goes on where it stopped.
# The figures of the weights that ship are in retracker/weights/MODEL_CARD.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT="${RETRACKER_OUT:-outputs/release}"
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi

stage() { "$PYTHON" -m retracker.train "+experiment=$1" "paths.output_dir=$OUT/$1" resume=auto "${@:2}"; }

stage release "$@"
stage release_long "ckpt=$OUT/release/checkpoints/last.ckpt" "$@"
"$PYTHON" tools/convert_checkpoint.py "$OUT/release_long/checkpoints/last.ckpt" "$OUT/tiny.safetensors" --half
"$PYTHON" -m retracker.eval benchmark=synthetic_val ckpt="$OUT/tiny.safetensors" paths.output_dir="$OUT/eval"
cp "$OUT/tiny.safetensors" retracker/weights/tiny.safetensors
