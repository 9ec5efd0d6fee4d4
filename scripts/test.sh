#!/usr/bin/env bash
# Install topoact-gpu with its test extra into .venv-test and run the whole suite.
#
#   bash scripts/test.sh [PYTEST ARGUMENTS]
#
# Paths in the arguments count from the checkout. PYTHON=... chooses the interpreter.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

make_environment "$PWD/.venv-test"
install_project "$PWD/.venv-test" test

# All of them run, so that one look shows everything that is wrong.
python="$PWD/.venv-test/bin/python"
status=0
"$python" -m ruff check . || status=$?
"$python" -m ruff format --check . || status=$?
"$python" -m mypy || status=$?
"$python" -m pytest "$@" || status=$?
exit "$status"
