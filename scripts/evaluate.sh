#!/usr/bin/env bash
# Every benchmark that is found under DATA_ROOT, and one table of all of them at the end:
#   bash scripts/evaluate.sh CKPT DATA_ROOT [key=value ...]
# CKPT is a path or a packaged name (tiny). One process runs on each GPU, or else on each CPU core; RETRACKER_PROCESSES
# says how many instead. Started again with the same words after it was stopped, it goes on where it was.
set -euo pipefail
if [[ $# -lt 2 || "$1" == -* ]]; then
    echo "usage: bash scripts/evaluate.sh CKPT DATA_ROOT [key=value ...]" >&2
    exit 2
fi
CKPT=$1 DATA_ROOT=$2
shift 2

here=$PWD # paths are the caller's
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install.sh
install_retracker
PYTHON=$(realpath --no-symlinks "$PYTHON")
cd "$here"

GPUS=$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')
PROCESSES="${RETRACKER_PROCESSES:-$((GPUS > 0 ? GPUS : $(nproc)))}"
if [[ ! "$PROCESSES" =~ ^[1-9][0-9]*$ ]]; then
    echo "RETRACKER_PROCESSES: expected a number of processes, got '$PROCESSES'" >&2
    exit 2
fi
quoted() { # a path may have spaces, commas and all else that means something in Hydra's grammar
    local quote="'" escaped="\\'"
    echo "'${1//$quote/$escaped}'"
}
EVALUATE=(-m retracker.eval benchmark=all "ckpt=$(quoted "$CKPT")" "data_root=$(quoted "$DATA_ROOT")" "$@")
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
if ((PROCESSES == 1)); then
    exec "$PYTHON" "${EVALUATE[@]}"
fi
exec "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$PROCESSES" "${EVALUATE[@]}"
