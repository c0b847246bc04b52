#!/usr/bin/env bash
# Java 17 or 21 for Spark: look for one, install one where that is allowed, else say the one command that does.
set -euo pipefail

version() { "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }

if found=$(version) && [ -n "$found" ] && [ "$found" -ge 17 ]; then exit 0; fi

remedy="install a Java 17 runtime, for example: sudo apt-get install -y openjdk-17-jre-headless"
if command -v apt-get >/dev/null; then
  run=""
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then run="sudo -n"; else echo "Java 17 or 21 is needed; $remedy" >&2; exit 1; fi
  fi
  $run apt-get update -q
  # a distribution has one of the two
  $run apt-get install -y -q openjdk-17-jre-headless || $run apt-get install -y -q openjdk-21-jre-headless
elif command -v dnf >/dev/null && [ "$(id -u)" -eq 0 ]; then
  dnf install -y -q java-17-openjdk-headless
else
  echo "Java 17 or 21 is needed; $remedy" >&2
  exit 1
fi
