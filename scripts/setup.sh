#!/bin/bash
# Installs the programs that are named and missing, and says in one line each what cannot be had.
set -euo pipefail

# The Debian package of a program, where the two differ.
package_of() {
  case $1 in
    cc) echo gcc ;;
    java) echo default-jre-headless ;;
    mvn) echo maven ;;
    node) echo nodejs ;;
    python3) echo python3-venv ;;
    sidekiq) echo ruby-sidekiq ;;
    ip) echo iproute2 ;;
    unshare) echo util-linux ;;
    *) echo "$1" ;;
  esac
}

# Whether a program is there; of a library that C needs to be built with, its headers.
have() {
  case $1 in
    libssl-dev) pkg-config --exists openssl 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

install() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || return 1
    as_root=(sudo -n)
  fi
  command -v apt-get >/dev/null || return 1
  # A package that starts a service of its own would take a port that nobody asked for.
  export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1 ||
    { "${as_root[@]}" apt-get update -qq >/dev/null 2>&1 &&
      "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1; }
}

missing=0
for program in "$@"; do
  have "$program" && continue
  if [ "$program" = cargo ]; then
    echo "missing: cargo, the Rust toolchain 1.95 or later (https://rustup.rs)" >&2
    missing=1
    continue
  fi
  package=$(package_of "$program")
  echo "installing $package"
  if ! install "$package" || ! have "$program"; then
    echo "missing: $program, and the package $package cannot be installed here" >&2
    missing=1
  fi
done
exit "$missing"
