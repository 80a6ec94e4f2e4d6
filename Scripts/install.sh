#!/usr/bin/env bash
# Builds the programs with Swift's libraries in them, and puts them into DIRECTORY/bin.
#
#   Scripts/install.sh DIRECTORY
#
# They run on any machine that has what `Scripts/setup.sh --runtime` installs, without Swift.
set -euo pipefail
[[ $# == 1 && $1 != -* ]] || {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 64
}
mkdir -p "$1/bin"
target=$(cd "$1/bin" && pwd)
cd "$(dirname "$0")/.."

programs=(bllarse-finetune bllarse-sweep bllarse-mlflow)
for program in "${programs[@]}"; do
  swift build --configuration release --static-swift-stdlib --product "$program"
done
built=$(swift build --configuration release --static-swift-stdlib --show-bin-path)
for program in "${programs[@]}"; do install -m 755 "$built/$program" "$target/$program"; done
# The built-in data, which are looked for beside the program.
rm -rf "$target/bllarse_BllarseCore.resources"
cp -R "$built/bllarse_BllarseCore.resources" "$target/"
echo "install: ${programs[*]} are in $target" >&2
