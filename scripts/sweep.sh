#!/usr/bin/env bash
# Train every combination of some values, and compare them in a table:
#
#     bash scripts/sweep.sh tracking module.optimisation.optimizer.lr=1e-4,3e-4 seed=0,1 total_steps=1000
#     bash scripts/sweep.sh --jobs 2 tracking ...                       # two runs at a time on this machine
#     bash scripts/sweep.sh --slurm --sbatch='--time=8:00:00' tracking ...   # one array job, with options for sbatch
#     bash scripts/sweep.sh --table tracking ...                        # only the table of what there is so far
#
# The same line again goes on with what was stopped, and leaves out what is finished.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
export PYTHON PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" tools/sweep.py "$@"
