#!/usr/bin/env bash
# Installs a stand-in for SQS into the user's cache, and prints the folder: of moto, with bin/python in it, or of
# ElasticMQ, with its jars. Prints one line "missing: …" and fails if it cannot be had.
#
#   sqs.sh moto
#   sqs.sh elasticmq
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agent-scaler/sqs

missing() {
    echo "missing: $1"
    exit 1
}

# Installs with the function $1 into a folder of its own, named after the file $2 that says what is wanted.
have() {
    local folder
    folder=$cache/$1-$(sha256sum "$here/$2" | cut -c1-16)
    mkdir -p "$cache"
    # One at a time: the others find it there.
    exec 9>"$cache/$1.lock"
    flock 9
    if [[ ! -e $folder ]]; then
        # Takes its name only at the end: an interrupted install is made anew.
        rm -rf "$folder.new"
        mkdir "$folder.new"
        if ! "$1" "$folder.new" >&2; then
            rm -rf "$folder.new"
            missing "$3"
        fi
        mv "$folder.new" "$folder"
    fi
    echo "$folder"
}

moto() {
    command -v python3 >/dev/null &&
        python3 -m venv "$1" &&
        timeout 240 "$1/bin/python" -m pip --quiet --disable-pip-version-check install \
            --requirement "$here/moto.requirements.txt"
}

elasticmq() {
    command -v java >/dev/null && command -v mvn >/dev/null &&
        timeout 240 mvn --quiet --batch-mode --file "$here/elasticmq.pom.xml" \
            org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$1"
}

case ${1:-} in
    moto) have moto moto.requirements.txt "python3 with venv, or moto from the package index" ;;
    elasticmq) have elasticmq elasticmq.pom.xml "java 17 and mvn, or ElasticMQ from Maven's repository" ;;
    *)
        echo "usage: sqs.sh moto|elasticmq" >&2
        exit 2
        ;;
esac
