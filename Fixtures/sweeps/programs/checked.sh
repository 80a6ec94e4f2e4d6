#!/usr/bin/env bash
# steps.sh with a subcommand `check`, which says of a run's words, a JSON array a line, whether the
# run could begin. Told to fail with 64 or 65 it cannot; --megabytes is the memory that it needs.
set -u

steps=$(dirname "$0")/steps.sh
case ${1:-} in
  --experimental-dump-help)
    "$steps" "$1" | sed 's/"arguments":/"subcommands":[{"commandName":"check"}],&/'
    ;;
  check)
    while IFS= read -r line; do
      memory=0
      if [[ $line =~ \"--megabytes\",\"([0-9]+)\" ]]; then memory=$((BASH_REMATCH[1] * 1048576)); fi
      case $line in
        *'"--code","64"'*)
          echo '{"status":64,"message":"Error: --code 64 does not exist yet\nUsage: steps.sh [--code N]"}'
          ;;
        *'"--code","65"'*) echo '{"status":65,"message":"there is no file code-65.npz"}' ;;
        *'"--pause"'*)
          echo "{\"status\":0,\"notes\":[\"--pause changes no result\"],\"memory_bytes\":$memory}"
          ;;
        *) echo "{\"status\":0,\"memory_bytes\":$memory}" ;;
      esac
    done
    ;;
  *) exec "$steps" "$@" ;;
esac
