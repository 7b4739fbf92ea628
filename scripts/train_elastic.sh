#!/usr/bin/env bash
# Train under torchrun: what dies is started again from the last checkpoint, and nodes may come and go.
#
#     bash scripts/train_elastic.sh                                    # this machine alone, +experiment=tracking
#     bash scripts/train_elastic.sh --processes 2 tracking total_steps=1000
#     bash scripts/train_elastic.sh --nnodes 2:4 --head node1:29400 --id mine tracking      # the same line on every node
#
#     --nnodes N or MIN:MAX   how many nodes (RETRACKER_NNODES; 1): fewer than MIN wait, and so does who comes after MAX
#     --head HOST[:PORT]      the node where all meet (RETRACKER_HEAD; in SLURM the job's first one; alone a free port of this one)
#     --id NAME               names the run and its folder of outputs (RETRACKER_DATE; in a step of SLURM the job; alone the time)
#     --processes N           on each node (RETRACKER_PROCESSES; as many as GPUs, else 1)
#     --max-restarts K        (RETRACKER_MAX_RESTARTS; 10) after which it gives up; scripts/daemon.sh starts it again even then
#
# RETRACKER_RDZV_CONF: torchrun's --rdzv-conf, such as join_timeout=600,last_call_timeout=30 (s; how long fewer than MIN, and
# fewer than MAX, wait for more). Arguments after the experiment are Hydra overrides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nnodes=${RETRACKER_NNODES:-${SLURM_NNODES:-1}}
head=${RETRACKER_HEAD:-}
id=${RETRACKER_DATE:-}
if [[ -z "$id" && -n "${SLURM_STEP_ID:-}" && "${SLURM_JOB_NAME:-}" != bash && "${SLURM_JOB_NAME:-}" != interactive ]]; then
    id=job${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
    [[ "$SLURM_STEP_ID" == 0 ]] || id+=_step$SLURM_STEP_ID # one job may train more than once: retracker/launch/place.py
fi
processes=${RETRACKER_PROCESSES:-}
restarts=${RETRACKER_MAX_RESTARTS:-10}
wrong() {
    echo "error: $1" >&2
    exit 2
}
while [[ "${1:-}" == --* ]]; do
    option=${1%%=*}
    if [[ "$1" == *=* ]]; then value=${1#*=}; else value=${2:-} && shift; fi
    [[ -n "$value" ]] || wrong "$option: expected a value"
    shift
    case "$option" in
        --nnodes) nnodes=$value ;;
        --head) head=$value ;;
        --id) id=$value ;;
        --processes) processes=$value ;;
        --max-restarts) restarts=$value ;;
        *) wrong "$option: unknown; there are --nnodes, --head, --id, --processes and --max-restarts" ;;
    esac
done
experiment=${1:-tracking}
[[ $# -eq 0 ]] || shift

[[ "$nnodes" =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]] || wrong "--nnodes: expected N or MIN:MAX, got '$nnodes'"
[[ "$restarts" =~ ^[0-9]+$ ]] || wrong "--max-restarts: expected a number, got '$restarts'"
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
if [[ -z "$processes" ]]; then
    processes=$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))')
fi
[[ "$processes" =~ ^[1-9][0-9]*$ ]] || wrong "--processes: expected a number, got '$processes'"
if [[ "$nnodes" == 1 || "$nnodes" == 1:1 ]]; then
    head=${head:-localhost:0} # 0: any free port
    id=${id:-$(date +%Y-%m-%d_%H-%M-%S)}
elif [[ -z "$head" && -n "${SLURM_JOB_ID:-}" ]]; then
    hosts=$(scontrol show hostnames "$SLURM_NODELIST")
    head="${hosts%%$'\n'*}:$((28500 + (SLURM_JOB_ID + ${SLURM_STEP_ID:-0}) % 3500))" # beside those of retracker/launch/group.py
fi
[[ -n "$head" ]] || wrong "--head: several nodes meet at one of them: say --head HOST:PORT, the same on all"
[[ -n "$id" ]] || wrong "--id: several nodes write to one folder: say --id NAME, the same on all"
id=${id//[^[:alnum:]_.-]/_}

words=("--nnodes=$nnodes" "--nproc-per-node=$processes" --rdzv-backend=c10d "--rdzv-endpoint=$head" "--rdzv-id=$id"
    "--rdzv-conf=${RETRACKER_RDZV_CONF:-join_timeout=600,last_call_timeout=30}" "--max-restarts=$restarts")
case "${head%%:*}" in
    localhost | 127.0.0.1) words+=("--local-addr=${head%%:*}") ;; # else processes would look for this host's name
esac
# torchrun's own defaults of these two would kill on SIGUSR1, and leave 30 s for the last checkpoint. Older ones know neither.
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}
export PET_SHUTDOWN_TIMEOUT=${PET_SHUTDOWN_TIMEOUT:-110}
# Or processes that are started again look for each other where they were before: docs/failures.md.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=${TORCH_DISABLE_SHARE_RDZV_TCP_STORE:-1}
export RETRACKER_DATE=$id RETRACKER_PROCESSES=$processes RETRACKER_TORCHRUN="${words[*]}" PYTHON
exec bash run_a100.sh "$experiment" "$@"
