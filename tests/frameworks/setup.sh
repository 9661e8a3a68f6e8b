#!/usr/bin/env bash
# Installs task frameworks into the user's cache, and prints the folder: of Python, with bin/python in it, of Node.js, with
# node_modules. Sidekiq comes with the system's packages. Prints one line "missing: …" and fails if they cannot be had.
#
#   setup.sh python
#   setup.sh node
#   setup.sh ruby
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agent-scaler/frameworks
mkdir -p "$cache"

missing() {
    echo "missing: $1"
    exit 1
}

# Installs with the function $1 into a folder of its own, named after the file $2 that says what is wanted. Of two that
# come at a time the second waits, and finds it done.
have() {
    local folder
    folder=$cache/$1-$(sha256sum "$here/$2" | cut -c1-16)
    exec 9>"$cache/$1.lock"
    flock 9
    if [[ ! -e $folder ]]; then
        # Takes its name only at the end: an interrupted install is made anew.
        rm -rf "$folder.new"
        mkdir "$folder.new"
        "$1" "$folder.new" >&2 || missing "$3"
        mv "$folder.new" "$folder"
    fi
    echo "$folder"
}

python() {
    command -v python3 >/dev/null && python3 -m venv "$1" &&
        timeout 240 "$1/bin/python" -m pip --quiet --disable-pip-version-check install --requirement "$here/requirements.txt"
}

node() {
    command -v node npm >/dev/null && cp "$here/package.json" "$here/package-lock.json" "$1" &&
        timeout 240 npm ci --prefix "$1" --silent --no-audit --no-fund --ignore-scripts
}

ruby() {
    exec 9>"$cache/ruby.lock"
    flock 9
    bash "$here/../../scripts/setup.sh" sidekiq >&2 || missing "sidekiq, of the package ruby-sidekiq"
}

case ${1:-} in
    python) have python requirements.txt "python3 with venv, or Celery, RQ, Dramatiq and taskiq from the package index" ;;
    node) have node package-lock.json "node and npm, or BullMQ from the registry" ;;
    ruby) ruby ;;
    *)
        echo "usage: setup.sh python|node|ruby" >&2
        exit 2
        ;;
esac
