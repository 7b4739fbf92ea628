#!/usr/bin/env bash
# Check the style and run the whole suite; arguments go to pytest:   bash scripts/test.sh --slow -k birth
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

source scripts/install.sh
install_retracker
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# Two processes of one thread each: two threads in each would wait for one another.
exec "$PYTHON" -m pytest -n "${RETRACKER_TEST_PROCESSES:-2}" --dist loadfile -rs --durations=15 "$@"
