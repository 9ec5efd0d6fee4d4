#!/usr/bin/env bash
# Install topoact-gpu into .venv, run the main job on the bundled activations, and show the graph.
#
#   bash scripts/quickstart.sh [--no-browser] [--no-serve] [--out FOLDER]
#
# In a terminal it ends with the explorer: the address is printed and opened, Ctrl-C stops it.
# The run and mapper.png go to FOLDER, by default topoact-demo in the current folder. Everything
# else goes to .venv in the checkout. PYTHON=... chooses the interpreter.
set -euo pipefail

start=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root=$PWD
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

out="topoact-demo"
pass=()
while [ $# -gt 0 ]; do
    case $1 in
    --out)
        [ $# -ge 2 ] || stop "--out needs a folder"
        out=$2
        shift
        ;;
    --out=*) out=${1#--out=} ;;
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "$root/scripts/quickstart.sh"
        exit 0
        ;;
    *) pass+=("$1") ;;
    esac
    shift
done

make_environment "$root/.venv"
install_project "$root/.venv" plot,explore
cd -- "$start"
"$root/.venv/bin/topoact" demo --out "$out" ${pass[@]+"${pass[@]}"}
