#!/usr/bin/env bash
# Every check that needs no GPU and no simulator. All of them run; the exit status is 1 if one failed.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
check() { echo "== $*"; .venv/bin/python -m "$@" || failed+=("$1"); }

check ruff check .
check ruff format --check .
check pyright
check pyright --project scripts/pyright.json
check pytest -q tests/test_architecture.py tests/test_packaging.py tests/test_configs.py
echo "== lines, in all and in the ten longest files"
find embodied policies simulators hardware tests benchmarks -name '*.py' -exec cat {} + | wc -l
find embodied policies simulators hardware tests benchmarks -name '*.py' -exec wc -l {} \; | sort -rn | head -n 10
if [ ${#failed[@]} -gt 0 ]; then echo "failed: ${failed[*]}"; exit 1; fi
