#!/usr/bin/env bash
# A small program that keeps the contract of a run: it writes result.json into --output, checkpoints
# on SIGUSR1 and SIGTERM and exits 75, and goes on from --resume to the same result.
set -u

steps=3 pause=0.02 seed=0 code=0 megabytes=0 output='' resume='' lock='' show='' hold='' leave=false
if [[ ${1:-} == --experimental-dump-help ]]; then
  list=''
  for name in steps pause seed code megabytes output resume lock show hold; do
    list+="{\"kind\":\"option\",\"names\":[{\"kind\":\"long\",\"name\":\"$name\"}]},"
  done
  echo "{\"serializationVersion\":0,\"command\":{\"commandName\":\"steps.sh\",\"arguments\":[$list{\"kind\":\"flag\",\"names\":[{\"kind\":\"long\",\"name\":\"leave\"}]}]}}"
  exit 0
fi
while (($#)); do
  case $1 in
    --steps | --pause | --seed | --code | --megabytes | --output | --resume | --lock | --show | --hold)
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --leave)
      leave=true
      shift
      ;;
    *)
      echo "steps.sh: unknown option $1" >&2
      exit 64
      ;;
  esac
done

step=0 state=$seed
if [[ -n $resume && -s $resume/checkpoint ]]; then
  read -r step state <"$resume/checkpoint"
  echo "resumed after step $step"
fi
# Two processes that run the same configuration at once would find the other's lock.
if [[ -n $lock ]]; then
  mkdir "$lock/$BLLARSE_CONFIG_INDEX" || echo "$BLLARSE_CONFIG_INDEX" >>"$lock/violations"
fi
checkpoint() {
  echo "$step $state" >"$output/.checkpoint" && mv "$output/.checkpoint" "$output/checkpoint"
  [[ -z $lock ]] || rmdir "$lock/$BLLARSE_CONFIG_INDEX"
  echo "checkpoint after step $step"
  exit 75
}
trap checkpoint USR1 TERM

for name in $show; do echo "$name=${!name:-}"; done
if ((megabytes > 0)); then
  block=$(head -c "$((megabytes * 1024 * 1024))" /dev/zero | tr '\0' x)
  echo "holding ${#block} bytes"
fi
while ((step < steps)); do
  # Told to hold, it stays after its first step until a file with its index is there.
  until [[ -z $hold || $step == 0 || -e $hold/$BLLARSE_CONFIG_INDEX ]]; do
    sleep 0.05 &
    wait $!
  done
  sleep "$pause" &
  wait $!
  state=$(((state * 1103515245 + 12345) % 2147483648))
  step=$((step + 1))
  echo "{\"epoch\": $step, \"nll\": 0.$((state % 1000 + 1000))}" >>"$output/metrics.jsonl"
done
if ((code != 0)); then
  [[ -z $lock ]] || rmdir "$lock/$BLLARSE_CONFIG_INDEX"
  echo "steps.sh: told to fail with $code" >&2
  exit "$code"
fi
$leave || echo "{\"test\": {\"nll\": 0.$((state % 1000000 + 1000000)), \"acc\": 0.9}, \"steps\": $step, \"seconds\": {\"total\": 1}}" >"$output/result.json"
[[ -z $lock ]] || rmdir "$lock/$BLLARSE_CONFIG_INDEX"
