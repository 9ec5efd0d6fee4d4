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

python="$PWD/.venv-test/bin/python"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest "$@"
