#!/usr/bin/env bash
# Install topoact-gpu with its test extra into .venv-test and run the whole suite, with the checks
# of the explorer's page.
#
#   bash scripts/test.sh [PYTEST ARGUMENTS]
#
# Paths in the arguments count from the checkout. PYTHON=... chooses the interpreter. Tests in a
# browser need Chromium (CHROMIUM=/path/to/chromium, or on the PATH) and are skipped without;
# TOPOACT_REQUIRE_BROWSER=1 fails instead.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

make_environment "$PWD/.venv-test"
install_project "$PWD/.venv-test" test

# check_page: format, types and unit tests of explorer/, with the Node that pip installed.
check_page() (
    cd explorer
    PATH="$(dirname -- "$python"):$PATH"
    [ -e node_modules ] || npm ci || return
    failed=0
    npm run --silent format || failed=$?
    npm run --silent check || failed=$?
    npm run --silent test || failed=$?
    return "$failed"
)

# All of them run, so that one look shows everything that is wrong.
python="$PWD/.venv-test/bin/python"
status=0
"$python" -m ruff check . || status=$?
"$python" -m ruff format --check . || status=$?
"$python" -m mypy || status=$?
check_page || status=$?

# Two halves side by side, to stay well under 20 minutes: the tests of the explorer and of capture,
# which often wait, beside all others. They are shown after.
beside=(tests/explorer tests/test_explore_*.py tests/test_page_build.py tests/test_capt*.py)
if [ $# -gt 0 ]; then
    "$python" -m pytest "$@" || status=$?
    exit "$status"
fi
printed=$(mktemp)
trap 'rm -f -- "$printed"' EXIT
"$python" -m pytest -p no:cacheprovider "${beside[@]}" >"$printed" 2>&1 &
"$python" -m pytest "${beside[@]/#/--ignore=}" || status=$?
wait $! || status=$?
cat -- "$printed"
exit "$status"
