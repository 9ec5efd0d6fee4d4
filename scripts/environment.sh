# Sourced by quickstart.sh and test.sh: find a Python and keep a virtual environment of our own.

# say MESSAGE: one line for the user, on stderr so that stdout stays the program's.
say() { printf '%s\n' "$*" >&2; }

stop() {
    say "error: $*"
    exit 1
}

# find_python: print the first interpreter that is new enough ($PYTHON is asked first).
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    if command -v python3 >/dev/null; then
        stop "Python 3.11 or newer is needed, python3 is $(python3 --version 2>&1 | cut -d' ' -f2);" \
            "install a newer one and name it: PYTHON=/path/to/python3.12 bash $0"
    fi
    stop "Python 3.11 or newer is needed and no python3 was found; install it" \
        "(Debian, Ubuntu: sudo apt-get install python3 python3-venv python3-pip)"
}

# make_environment FOLDER: a virtual environment there, made anew when it no longer runs.
# A folder that we did not make is left alone.
make_environment() {
    local folder=$1 python
    if [ -e "$folder" ] && [ ! -e "$folder/made-by-topoact" ]; then
        stop "$folder exists and was not made by this script; move it away and try again"
    fi
    if [ -e "$folder" ] && "$folder/bin/python" -c 'import numbers' 2>/dev/null; then
        return
    fi
    python=$(find_python) || exit 1
    say "Making a virtual environment in $folder with $("$python" --version)"
    rm -rf -- "$folder"
    mkdir -- "$folder"
    : >"$folder/made-by-topoact"
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        "$python" -m venv "$folder"
    elif "$python" -c 'import venv, pip' 2>/dev/null; then
        # Debian without python3-venv: the interpreter's own pip can fill the environment.
        "$python" -m venv --without-pip "$folder"
        "$python" -m pip --python "$folder/bin/python" install --quiet pip
    else
        rm -rf -- "$folder"
        stop "$python has no venv module; install it" \
            "(Debian, Ubuntu: sudo apt-get install python3-venv) and try again"
    fi
}

# page_sources: one line for each file that the explorer's page is built from.
page_sources() {
    find explorer \( -name node_modules -o -name test \) -prune -o -type f -exec cksum {} + |
        LC_ALL=C sort
}

# install_project ENVIRONMENT EXTRA: install the checkout with an extra, unless that is done. It is
# done anew when the explorer's page is missing or older than its sources: installing builds it.
install_project() {
    local folder=$1 extra=$2 page=topoact_gpu/explore/static/sources.sha256 wanted
    wanted=$(printf '%s\n' "$extra" "$PWD" &&
        cat pyproject.toml setup.py scripts/build_backend.py && page_sources)
    if [ "$(cat -- "$folder/installed-by-topoact" 2>/dev/null)" = "$wanted" ] &&
        [ -e "$page" ]; then
        return
    fi
    say "Installing topoact-gpu and what it needs (a few minutes the first time)"
    rm -f -- "$folder/installed-by-topoact"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extra]" >&2
    printf '%s\n' "$wanted" >"$folder/installed-by-topoact"
}
