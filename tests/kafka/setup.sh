#!/usr/bin/env bash
# Installs Apache Kafka into the user's cache, and prints its folder. Prints one line "missing: …" and fails if it cannot
# be had. In the folder: `classpath`, an explicit list of jars; `bootstrap.checkpoint`, what formatting a broker writes,
# with the users alice (SCRAM-SHA-256) and anna (SCRAM-SHA-512); `classes.jsa`, with which a broker starts in half of the
# time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agent-scaler/kafka
# Of every cluster of the tests.
cluster_id=MkU3OEVBNTcwNTJENDM2Qk

missing() {
    echo "missing: $1"
    exit 1
}

command -v java >/dev/null || missing "java 17 or later: install the package openjdk-17-jre-headless"
# The archive of classes is of use to the very Java that wrote it.
version=$( (java -version 2>&1; cat "$here/pom.xml" "$here/setup.sh") | sha256sum | cut -c1-16)
folder=$cache/$version

log() { [[ ! -e $1 ]] || tail -n 20 "$1" >&2; }

jars() {
    command -v mvn >/dev/null || missing "mvn, which fetches Kafka: install the package maven"
    timeout 300 mvn --batch-mode --quiet --file "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$1/libs" >"$1/mvn.log" 2>&1 ||
        { log "$1/mvn.log"; missing "Apache Kafka from the Maven repository"; }
}

configuration() {
    cat >"$1/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$3
listeners=PLAINTEXT://127.0.0.1:$2,SASL_PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2,SASL_PLAINTEXT://127.0.0.1:1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=$1/data
EOF
}

format() {
    java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$(cat "$1/classpath")" kafka.tools.StorageTool format \
        -t "$cluster_id" -c "$1/server.properties" \
        --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
        --add-scram 'SCRAM-SHA-512=[name=anna,password=anna-secret]' >"$1/format.log" 2>&1 ||
        { log "$1/format.log"; return 1; }
}

# Runs a broker until it listens and stops it, which is when Java writes down the classes that it loaded.
archive() {
    local broker tries
    java -XX:ArchiveClassesAtExit="$1/classes.jsa" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$(cat "$1/classpath")" \
        kafka.Kafka "$1/server.properties" >"$1/archive.log" 2>&1 9>&- &
    broker=$!
    for ((tries = 0; tries < 600; tries++)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
            break
        fi
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    kill "$broker" 2>/dev/null || true
    wait "$broker" || true
}

install() {
    local own=$folder.$$
    mkdir -p "$own"
    # shellcheck disable=SC2064 # the folder of this process
    trap "rm -rf '$own'" EXIT
    jars "$own"
    # The archive holds the paths of the jars, so these move to their place first.
    mkdir -p "$folder"
    rm -rf "$folder/libs"
    mv "$own/libs" "$folder/libs"
    find "$folder/libs" -name '*.jar' | sort | tr '\n' ':' >"$folder/classpath"
    local port=$((20000 + RANDOM % 10000))
    configuration "$folder" "$port" "$((port + 1))"
    format "$folder" || missing "a formatted broker: Kafka's StorageTool does not run"
    cp "$folder/data/bootstrap.checkpoint" "$folder/bootstrap.checkpoint"
    # Without the archive everything works and takes longer.
    archive "$folder" "$port"
    rm -rf "$folder/data"
    touch "$folder/ready"
}

mkdir -p "$cache"
# Of several tests at a time one installs, and the others wait for it.
exec 9>"$cache/lock"
flock 9
[[ -e $folder/ready ]] || install
echo "$folder"
