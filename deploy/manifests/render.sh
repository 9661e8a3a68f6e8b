#!/usr/bin/env bash
# Renders the chart into the files of this folder, or into another one: render.sh [FOLDER]. Needs Helm 3 or 4, as
# `helm` or by its path in HELM. tests/manifests/run.sh fails where these files are not what this script writes.
#
# A ConfigMap becomes the file in it, of which kustomization.yaml makes one again, under a name that carries a hash of
# the content: so an edit rolls the pods, and the chart's checksum is left out. So are the labels of Helm's own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
chart=$here/../charts/agent-scaler
out=${1:-$here}
mkdir -p "$out/mutual-tls"

render() {
    local folder=$1
    shift
    "${HELM:-helm}" template agent-scaler "$chart" --namespace agent-scaler \
        --values "$chart/ci/plain-manifests.yaml" "$@" |
        sed -E -e '/^ +(app\.kubernetes\.io\/managed-by|helm\.sh\/chart): /d' \
            -e '/^      annotations:$/{N;N;/checksum/d}' |
        awk -v folder="$folder" '
            /^---$/ { next }
            /^# Source: / {
                count = split($3, part, "/")
                file = folder "/" part[count]
                if (file in begun) print "---" > file
                else printf "# Rendered by render.sh from %s; edit that.\n", "deploy/charts/" $3 > file
                begun[file]
                next
            }
            { print > file }'
}

render "$out"
render "$out/mutual-tls" --set tls.mode=mutual --set keda.clusterTriggerAuthentication.create=true \
    --show-only templates/cluster-trigger-authentication.yaml

# The server's file is for editing.
sed -e '1,/^  agent-scaler\.yaml: |$/d' -e 's/^    //' "$out/config-map.yaml" > "$out/agent-scaler.yaml"
rm "$out/config-map.yaml"
