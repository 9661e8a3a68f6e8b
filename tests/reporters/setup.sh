#!/usr/bin/env bash
# Installs what the reporters of examples/ need into the user's cache, and prints the folder: of Python, with bin/python
# in it, or of TypeScript, with node_modules. Prints one line "missing: …" and fails if it cannot be had.
#
#   setup.sh python
#   setup.sh typescript
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agent-scaler/reporters

missing() {
    echo "missing: $1"
    exit 1
}

# Installs with the function $1 into a folder of its own, named after the file $2 that says what is wanted.
have() {
    local folder
    folder=$cache/$1-$(sha256sum "$here/$2" | cut -c1-16)
    if [[ ! -e $folder ]]; then
        # Takes its name only at the end: an interrupted install is made anew, and of two at a time the first counts.
        mkdir -p "$folder.$$"
        if ! "$1" "$folder.$$" >&2; then
            rm -rf "$folder.$$"
            missing "$3"
        fi
        mv --no-target-directory "$folder.$$" "$folder" || rm -rf "$folder.$$"
    fi
    echo "$folder"
}

python() {
    command -v python3 >/dev/null &&
        python3 -m venv "$1" &&
        timeout 120 "$1/bin/pip" --quiet --disable-pip-version-check install --requirement "$here/requirements.txt"
}

typescript() {
    command -v npm >/dev/null &&
        cp "$here/package.json" "$here/package-lock.json" "$1" &&
        timeout 120 npm ci --prefix "$1" --silent --no-audit --no-fund --ignore-scripts
}

case ${1:-} in
    python) have python requirements.txt "python3 with venv, or redis-py from the package index" ;;
    typescript) have typescript package-lock.json "node and npm, or ioredis and typescript from the registry" ;;
    *)
        echo "usage: setup.sh python|typescript" >&2
        exit 2
        ;;
esac
