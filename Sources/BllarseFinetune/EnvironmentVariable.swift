import BllarseCore

/// A variable of the environment that is a default for an option.
enum EnvironmentVariable: String {
  /// Where data sets are.
  case dataDirectory = "BLLARSE_DATA_DIR"
  /// Where backbones are.
  case modelDirectory = "BLLARSE_MODEL_DIR"
  /// Where the package's own data files are.
  case resources = "BLLARSE_RESOURCES"
  /// The processors that SLURM granted.
  case slurmProcessors = "SLURM_CPUS_PER_TASK"
  /// The name of the tracked run, from the sweep that started it.
  case runName = "BLLARSE_RUN_NAME"

  /// Its value; `nil` when it is not set, or empty.
  var value: String? { Host.variable(rawValue) }
}
