#!/usr/bin/env bash
# Train the weights that ship as "tiny", from nothing but this repository and XFeat's released weights:
#
#     bash tools/train_release.sh [hydra overrides]
#
# Writes outputs/release/, scores the result, and puts it into retracker/weights/tiny.safetensors.
# RETRACKER_STEPS: how long to train. The figures of the weights that ship are in retracker/weights/MODEL_CARD.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT="${RETRACKER_OUT:-outputs/release}"
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi

# resume=auto: running this again after an interruption goes on where it stopped.
"$PYTHON" -m retracker.train +experiment=release total_steps="${RETRACKER_STEPS:-2000}" \
    paths.output_dir="$OUT" resume=auto "$@"
"$PYTHON" tools/export_weights.py "$OUT/checkpoints/last.ckpt" "$OUT/tiny.safetensors" --half
"$PYTHON" -m retracker.eval benchmark=synthetic_val ckpt="$OUT/tiny.safetensors" paths.output_dir="$OUT/eval"
cp "$OUT/tiny.safetensors" retracker/weights/tiny.safetensors
