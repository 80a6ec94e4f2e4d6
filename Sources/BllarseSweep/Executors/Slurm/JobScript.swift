/// The text of a generated job script.
struct JobScript {
  let array: TaskArray
  let program: String?
  let maxRequeues: Int

  var text: String {
    """
    #!/usr/bin/env bash
    # Written by bllarse-sweep: submission \(array.submission.number), chunk \(array.position.index) of sweep \(array.sweep.name).
    set -uo pipefail

    export BLLARSE_SWEEP_DIR=\(Shell.quote(array.sweep.path))
    export BLLARSE_SWEEP_SOURCE=\(Shell.quote(array.sweep.source))
    export INDEX_OFFSET=\(array.chunk.offset)
    export BLLARSE_MAX_REQUEUES=\(maxRequeues)
    node=${SLURMD_NODENAME:-$(hostname)}

    \(Self.body)\
    index=$((SLURM_ARRAY_TASK_ID + INDEX_OFFSET))\(orderLine)
    activate_venv
    run_task \(Shell.quote(array.executable)) run-config "$BLLARSE_SWEEP_DIR" "$index"\(programArgument)

    """
  }

  /// The functions that `Scripts/slurm/common.sh` holds too: a generated script is whole, so that it
  /// runs wherever SLURM copies it.
  static let body = String(decoding: PackageResources.job_sh, as: UTF8.self)

  private var orderLine: String {
    guard let orderFile = array.orderFile else { return "" }
    return "\nindex=$(sed -n \"$((index + 1))p\" \(Shell.quote(orderFile)))"
  }

  private var programArgument: String {
    program.map { " --program \(Shell.quote($0))" } ?? ""
  }
}
