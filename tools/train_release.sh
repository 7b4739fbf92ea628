#!/usr/bin/env bash
# Push the weights that ship as "tiny" further, for as many minutes as you can spare:
#
#     bash tools/train_release.sh MINUTES [hydra overrides]      # RETRACKER_START=none: from XFeat's weights alone
#
# Each call is one chunk: a warm restart from the last released weights (averaged weights, fresh optimiser, one
# schedule over the whole chunk). A chunk that was interrupted is finished first, on its own schedule. Writes into
# outputs/release (RETRACKER_OUT): tiny.safetensors with fitted thresholds, and a table beside the weights it came
# from. Nothing is installed: copy the file to retracker/weights/ if you like the table. Everything is rendered on
# the fly; on a machine with a GPU the renderer uses the CPU cores beside it (data.num_workers=14).
set -euo pipefail
[[ "${1:-}" =~ ^[0-9]+(\.[0-9]+)?$ ]] || { echo "usage: $0 MINUTES [hydra overrides]" >&2; exit 2; }
MINUTES="$1"; shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT="${RETRACKER_OUT:-outputs/release}"
START="${RETRACKER_START:-tiny}"
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$OUT"

if [[ -f "$OUT/unfinished" ]]; then
    { read -r CHUNK; read -r STEPS; read -r START; } < "$OUT/unfinished"
    echo "finishing chunk $CHUNK of $STEPS steps from $START"
else
    CHUNK="chunk_$(date +%Y%m%d_%H%M%S)"
    if [[ "$START" != none ]]; then  # a copy: the weights that ship may be replaced while this runs
        "$PYTHON" tools/convert_checkpoint.py "$START" "$OUT/$CHUNK/start.safetensors"
        START="$OUT/$CHUNK/start.safetensors"
    fi
    STEPS="$("$PYTHON" tools/steps_in.py "$MINUTES" tiny_release "$@" | tail -n 1)"
    echo "chunk $CHUNK: $STEPS steps in about $MINUTES minutes, from $START"
    printf '%s\n' "$CHUNK" "$STEPS" "$START" > "$OUT/unfinished"
fi
FROM=()
[[ "$START" == none ]] || FROM=("ckpt=$START")
# The seed is the chunk's own: no chunk shows what another one did.
SEED="$(( $(cksum <<< "$CHUNK" | cut -d' ' -f1) % 1000000 ))"
"$PYTHON" -m retracker.train +experiment=tiny_release "paths.output_dir=$OUT/$CHUNK" "total_steps=$STEPS" \
    "seed=$SEED" resume=auto "${FROM[@]}" "$@" || [[ $? -eq 75 ]] # 75: told to stop, and saved
"$PYTHON" - "$OUT/$CHUNK/checkpoints/last.ckpt" "$STEPS" <<'PY' || exit 0
import sys

from retracker.checkpoint import read_torch

if read_torch(sys.argv[1])["global_step"] < int(sys.argv[2]):
    sys.exit("interrupted: run this again to finish the chunk")
PY

"$PYTHON" tools/fit_thresholds.py "$OUT/$CHUNK/checkpoints/last.ckpt" --half --most-enlarged 1.25 \
    --write "$OUT/tiny.safetensors"
for which in new old; do
    weights="$OUT/tiny.safetensors"
    [[ $which == new ]] || weights="$START"
    [[ "$weights" == none ]] ||
        "$PYTHON" -m retracker.eval benchmark=synthetic_val "ckpt=$weights" "paths.output_dir=$OUT/$CHUNK/eval_$which"
done
echo "new weights: $OUT/tiny.safetensors ($(wc -c < "$OUT/tiny.safetensors") bytes); tables: $OUT/$CHUNK/eval_*/table.md"
rm "$OUT/unfinished"
