/// The text of a generated job script.
struct JobScript {
  let sweepName: String
  let submission: Int
  let chunk: Int
  let offset: Int
  let orderFile: String?
  let sweepDirectory: String
  let source: String
  /// The path of bllarse-sweep, which must lie where the nodes see it.
  let executable: String
  let program: String?
  let maxRequeues: Int

  var text: String {
    """
    #!/usr/bin/env bash
    # Written by bllarse-sweep: submission \(submission), chunk \(chunk) of sweep \(sweepName).
    set -uo pipefail

    export BLLARSE_SWEEP_DIR=\(Shell.quote(sweepDirectory))
    export BLLARSE_SWEEP_SOURCE=\(Shell.quote(source))
    export INDEX_OFFSET=\(offset)
    index=$((SLURM_ARRAY_TASK_ID + INDEX_OFFSET))\(orderLine)
    if [[ -n ${VENV_NAME:-} ]]; then
      # shellcheck disable=SC1091
      source "$VENV_NAME/bin/activate" || exit 1
    fi

    # The run goes on in the background, so that the shell can act on signals at once.
    child=
    # shellcheck disable=SC2317
    forward() { [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null; }
    trap 'forward USR1' USR1
    trap 'forward TERM' TERM
    \(Shell.quote(executable)) run-config "$BLLARSE_SWEEP_DIR" "$index"\(programArgument) &
    child=$!
    while :; do
      wait "$child"
      code=$?
      kill -0 "$child" 2>/dev/null || break
    done

    # 75: stopped with a checkpoint. A job that was cancelled, or that SLURM requeues itself, is no
    # longer RUNNING and must not be started again from here.
    if ((code == 75 && ${SLURM_RESTART_COUNT:-0} < \(maxRequeues))); then
      state=$(scontrol show job -o "$SLURM_JOB_ID" | sed -n 's/.* JobState=\\([A-Z_]*\\).*/\\1/p')
      if [[ $state == RUNNING ]]; then
        echo "bllarse-sweep: requeueing job $SLURM_JOB_ID" >&2
        scontrol requeue "$SLURM_JOB_ID"
      fi
    fi
    exit "$code"

    """
  }

  private var orderLine: String {
    guard let orderFile else { return "" }
    return "\nindex=$(sed -n \"$((index + 1))p\" \(Shell.quote(orderFile)))"
  }

  private var programArgument: String {
    program.map { " --program \(Shell.quote($0))" } ?? ""
  }
}

/// Words as a shell reads them.
package enum Shell {
  package static func quote(_ word: String) -> String {
    let safe = word.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
        || "%+,-./:=@_".utf8.contains($0)
    }
    if safe, !word.isEmpty { return word }
    return "'"
      + word.split(separator: "'", omittingEmptySubsequences: false)
      .joined(separator: "'\\''") + "'"
  }

  package static func join(_ words: [String]) -> String {
    words.map(quote).joined(separator: " ")
  }
}
