#!/usr/bin/env bash
# Train on one machine with all its GPUs (or, where there is none, its CPU):
#
#     bash run_a100.sh tracking [hydra overrides]
#     bash run_a100.sh tracking data.batch_size=4 resume=auto
#
# With GPUs it adds model=base trainer=ddp and the mixture of the experiment (data=tracking_mix, matching_mix or joint_mix), from
# data_root=, RETRACKER_DATA or ./data; where there is none of these, rendered data of the size that base works at. A data= of your
# own replaces that. Without GPUs it adds model=tiny, to try a command before the cluster sees it. The booster has a model of its
# own, and makes its data of any folder of images. Overrides come last and win. PYTHON names another interpreter than .venv/bin/python
# or python.
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
case "$experiment" in
    matching) mixture=matching_mix rendered=(posed) ;;
    joint) mixture=joint_mix rendered=(posed clips) ;;
    *) mixture=tracking_mix rendered=(synthetic) ;;
esac
if [[ "$num_gpus" -eq 0 ]]; then
    setting=(model=tiny)
    [[ "$experiment" != booster ]] || setting=()
elif [[ "$experiment" == booster ]]; then
    setting=(trainer=ddp data.num_workers=8)
else
    setting=(model=base trainer=ddp data.num_workers=8)
    if [[ " $*" == *" data="* ]]; then
        :
    elif [[ " $*" == *" data_root="* || -n "${RETRACKER_DATA:-}" || -d data ]]; then
        setting+=("data=$mixture" data.batch_size=1)
    else
        for name in "${rendered[@]}"; do setting+=("data.train.$name.size=512"); done
    fi
fi
echo "$num_gpus GPUs: +experiment=$experiment ${setting[*]} $*"
exec "$PYTHON" -m retracker.train "+experiment=$experiment" "${setting[@]}" "$@"
