#!/usr/bin/env bash
# A Chromium for the tests that open a page: the system's own, since a test tool's download is not to be had everywhere.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null && exit 0; done

remedy="install one, for example: sudo apt-get install -y chromium fonts-noto-cjk"
run=""
if ! command -v apt-get >/dev/null; then echo "Chromium is needed for the browser tests; $remedy" >&2; exit 1; fi
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then run="sudo -n"; else echo "Chromium is needed for the browser tests; $remedy" >&2; exit 1; fi
fi
$run apt-get update -q && $run apt-get install -y -q --no-install-recommends chromium fonts-noto-cjk
