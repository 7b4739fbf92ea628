#!/usr/bin/env bash
# Train on one machine with all its GPUs (or, where there is none, its CPU):
#
#     bash run_a100.sh tracking [hydra overrides]
#     bash run_a100.sh tracking data.batch_size=4 resume=auto
#
# With GPUs it adds model=base trainer=ddp and clips of the size that base works at; without, model=tiny, to try a command before the cluster sees it.
# The data are the rendered clips of data=synthetic, until there is a mix of real ones.
# Overrides come last and win. PYTHON names another interpreter than .venv/bin/python or python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ $# -eq 0 ]]; then
    echo "usage: bash run_a100.sh EXPERIMENT [hydra overrides]; experiments: $(cd configs/experiment && echo *.yaml | sed 's/\.yaml//g')" >&2
    exit 2
fi
experiment=$1
shift

if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
num_gpus=$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')
if [[ "$num_gpus" -gt 0 ]]; then
    setting=(model=base trainer=ddp data.train.synthetic.size=512 data.num_workers=8)
else
    setting=(model=tiny)
fi
echo "$num_gpus GPUs: +experiment=$experiment ${setting[*]} $*"
exec "$PYTHON" -m retracker.train "+experiment=$experiment" "${setting[@]}" "$@"
