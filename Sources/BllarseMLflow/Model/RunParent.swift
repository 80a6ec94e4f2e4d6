/// Which run a new run is nested under.
public enum RunParent: Sendable, Equatable {
  /// The run named by `MLFLOW_PARENT_RUN_ID`, if that variable is set and not empty.
  case environment
  /// None: a run at the top level.
  case none
  /// The run with this id: the id a server gave, or the local ``Run/id`` of a run of this package.
  case run(String)
}
