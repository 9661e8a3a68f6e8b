#!/usr/bin/env bash
# Validates deploy/ and examples/scaledobjects/, and the Helm chart, and starts every pod that they hold. Needs python3,
# go, cargo, openssl and redis-server, and fetches Helm 3 and 4; keeps all it makes in the user's cache.
#
#   run.sh                      checks everything
#   run.sh --server-files DIR   writes the server's file that the chart renders for each of its ci/*.yaml
#   run.sh --table              writes the connections into the chart's schema, and its table of values into its README
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agent-scaler/manifests
key=$(sha256sum "$here/requirements.txt" | cut -c1-16)
venv=$cache/venv-$key
export PYTHONDONTWRITEBYTECODE=1

if [[ ! -e $venv/complete ]]; then
    # Marked complete only at the end, so that an interrupted install is made anew.
    rm -rf "$venv"
    mkdir -p "$cache"
    python3 -m venv "$venv"
    "$venv/bin/pip" --quiet --disable-pip-version-check install --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi

if (($#)); then
    exec "$venv/bin/python" "$here/charts.py" "$@"
fi

status=0
# kustomize is not needed to check the files, but where it is there the two sets must build.
root=$(cd "$here/../.." && pwd)
if command -v kubectl >/dev/null; then
    echo "== kustomize"
    for folder in deploy/manifests deploy/manifests/worker deploy/manifests/worker/job deploy/manifests/agent; do
        kubectl kustomize "$root/$folder" >/dev/null && echo "$folder builds" || { echo "FAILED $folder"; status=1; }
    done
else
    echo "== kustomize: not run, there is no kubectl"
fi

echo "== self-test"
"$venv/bin/python" "$here/check.py" --self-test || status=1
echo "== check"
"$venv/bin/python" "$here/check.py" || status=1
echo "== chart"
"$venv/bin/python" "$here/charts.py" || status=1
echo "== starts"
# A clone that has been tested has them already.
if (cd "$root" && cargo build --quiet --locked --bins --examples); then
    "$venv/bin/python" "$here/starts.py" --programs "${CARGO_TARGET_DIR:-$root/target}/debug" || status=1
else
    echo "FAILED the programs cannot be built"
    status=1
fi
exit "$status"
