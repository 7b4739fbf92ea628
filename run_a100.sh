#!/usr/bin/env bash
# Train, by the same line on a laptop, on one GPU or eight, and on every node of many:
#
#     bash run_a100.sh tracking [hydra overrides]
#     bash run_a100.sh tracking data.batch_size=4 resume=auto
#
# With GPUs it adds model=base trainer=ddp and the mixture of the experiment (data=tracking_mix, matching_mix or joint_mix), from
# data_root=, RETRACKER_DATA or the site's data root (./data where there is no site); where there is none of these, rendered data of
# the size that base works at. A data= of your own replaces that. Without GPUs it adds model=tiny, to try a command before the cluster
# sees it. The booster has a model of its own, and makes its data of any folder of images; self_training says by ckpt= and labels= what
# it starts from; tiny_release is a recipe of model and rendered data. Overrides come last and win.
#
# It finds out by itself where it is: in a SLURM allocation (it calls srun), in a step of one (one task per GPU: they are the
# processes; one per node: scripts/train_elastic.sh starts one process per GPU), under torchrun --no-python, on one of several nodes
# (RETRACKER_NNODES: scripts/train_elastic.sh), or alone. Where something may start it again (scripts/daemon.sh, too) it adds resume=auto. It looks at the
# machine before it starts (tools/preflight.py), and ends with code 2 if something must be put right first.
#
#     PYTHON                   another interpreter than .venv/bin/python or python
#     RETRACKER_SITE           a file of configs/paths, where it is not recognised by host name or folder
#     RETRACKER_DATA, RETRACKER_OUTPUTS   where data lie and outputs go, whatever the site says
#     RETRACKER_SKIP_CHECKS=1  (or --skip-checks) start without looking at the machine
#     RETRACKER_TORCHRUN       words for torchrun (retracker/launch/elastic.py), from scripts/train_elastic.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ "${1:-}" == --skip-checks ]]; then
    export RETRACKER_SKIP_CHECKS=1
    shift
fi
if [[ $# -eq 0 || "$1" == -* ]]; then
    echo "usage: bash run_a100.sh EXPERIMENT [hydra overrides]; experiments: $(cd configs/experiment && echo *.yaml | sed 's/\.yaml//g')" >&2
    exit 2
fi
experiment=$1
shift
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" # tools, too, are of this checkout

# In an allocation, but in none of its steps: its batch script, or salloc's terminal.
if [[ -n "${SLURM_JOB_ID:-}" && -z "${SLURM_STEP_ID:-}" && -z "${TORCHELASTIC_RUN_ID:-}" ]] && command -v srun >/dev/null; then
    [[ -z "${SLURM_CPUS_PER_TASK:-}" ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # since SLURM 22.05 not by itself
    # A name of its own: Lightning takes steps called "bash" or "interactive" for terminals.
    exec srun --job-name=retracker --kill-on-bad-exit=0 --wait=60 bash run_a100.sh "$experiment" "$@"
fi
num_gpus=$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')
launch=("$PYTHON") words=("+experiment=$experiment") launcher=alone processes=()
if [[ -n "${TORCHELASTIC_RUN_ID:-}" ]]; then
    launcher=torchrun
elif [[ -n "${RETRACKER_TORCHRUN:-}" ]]; then
    read -ra options <<<"$RETRACKER_TORCHRUN"
    unset RETRACKER_TORCHRUN
    launcher=torchrun launch+=(-m retracker.launch.elastic "${options[@]}") processes=(--processes "$RETRACKER_PROCESSES")
elif [[ -n "${SLURM_STEP_ID:-}" && "${SLURM_JOB_NAME:-}" != bash && "${SLURM_JOB_NAME:-}" != interactive ]]; then
    launcher=SLURM
    if [[ "${SLURM_NTASKS:-1}" -eq "${SLURM_NNODES:-1}" && "${RETRACKER_PROCESSES:-$num_gpus}" -gt 1 ]]; then
        exec bash scripts/train_elastic.sh "$experiment" "$@"
    fi
elif [[ -n "${RETRACKER_NNODES:-}" && "${RETRACKER_NNODES:-}" != 1 ]]; then
    exec bash scripts/train_elastic.sh "$experiment" "$@"
fi

# The site: a file of configs/paths. One that the user names as paths= needs no second choice.
data_root=${RETRACKER_DATA:-data}
if [[ -d configs/paths ]]; then
    for word in "$@"; do [[ "$word" != paths=* ]] || export RETRACKER_SITE="${word#paths=}"; done
    found=$("$PYTHON" -m retracker.commands.sites)
    { read -r name && read -r data_root; } <<<"$found"
    [[ "$name" == default || " $*" == *" paths="* ]] || words+=("paths=$name")
fi
if [[ "$launcher" != alone || -n "${RETRACKER_DAEMON:-}" ]]; then
    words+=(resume=auto)
elif [[ " $*" != *" resume=auto"* ]]; then # which looks for an earlier run
    export RETRACKER_DATE=${RETRACKER_DATE:-$(date +%Y-%m-%d_%H-%M-%S)} # the folder that checks and training speak of
fi

case "$experiment" in
    matching) mixture=matching_mix rendered=(train.posed) ;;
    joint) mixture=joint_mix rendered=(train.posed train.clips val) ;;
    *) mixture=tracking_mix rendered=(train.synthetic val) ;;
esac
if [[ "$num_gpus" -eq 0 ]]; then
    [[ "$experiment" == booster ]] || words+=(model=tiny)
elif [[ "$experiment" == @(booster|self_training|tiny_release) ]]; then
    words+=(trainer=ddp data.num_workers=8)
else
    words+=(model=base trainer=ddp data.num_workers=8)
    if [[ " $*" == *" data="* ]]; then
        :
    elif [[ " $*" == *" data_root="* || -n "${RETRACKER_DATA:-}" || -d "$data_root" || "$data_root" == *://* ]]; then
        words+=("data=$mixture" data.batch_size=1)
    else
        for name in "${rendered[@]}"; do words+=("data.$name.size=512"); done
    fi
fi
words+=("$@")
echo "$num_gpus GPUs, $launcher: ${words[*]}"
if [[ -z "${RETRACKER_SKIP_CHECKS:-}" && -f tools/preflight.py ]]; then
    "$PYTHON" tools/preflight.py ${processes[@]+"${processes[@]}"} "${words[@]}"
fi
exec "${launch[@]}" -m retracker.train "${words[@]}"
