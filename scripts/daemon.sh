#!/usr/bin/env bash
# Keep a training alive on this machine, also after the terminal is closed:
#
#     bash scripts/daemon.sh start mine -- bash scripts/train_elastic.sh tracking total_steps=100000
#     bash scripts/daemon.sh status mine      # since when, how often started again, last exit code, last step
#     bash scripts/daemon.sh stop mine        # it saves first
#     bash scripts/daemon.sh run mine -- ...  # the same in front, for systemd and the like
#
# Started again with pauses that double; it gives up after 5 failures within 6 hours. Options: --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    [[ ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" tools/daemon.py "$@"
