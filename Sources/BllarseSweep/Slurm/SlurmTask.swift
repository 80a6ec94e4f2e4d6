/// The SLURM task that a process belongs to.
package struct SlurmTask: Sendable, Hashable {
  package var job: String
  package var arrayJob: String?
  package var arrayTask: Int?
  package var restarts: Int
  package var node: String?

  package init(
    job: String, arrayJob: String? = nil, arrayTask: Int? = nil, restarts: Int = 0,
    node: String? = nil
  ) {
    self.job = job
    self.arrayJob = arrayJob
    self.arrayTask = arrayTask
    self.restarts = restarts
    self.node = node
  }

  /// The task of this process; nil outside of a job.
  package init?(environment: [String: String]) {
    guard let job = environment["SLURM_JOB_ID"], !job.isEmpty else { return nil }
    self.init(
      job: job, arrayJob: environment["SLURM_ARRAY_JOB_ID"],
      arrayTask: environment["SLURM_ARRAY_TASK_ID"].flatMap(Int.init),
      restarts: environment["SLURM_RESTART_COUNT"].flatMap(Int.init) ?? 0,
      node: environment["SLURMD_NODENAME"])
  }

  init?(_ json: JSON) {
    guard let job = json["job"]?.stringValue else { return nil }
    self.init(
      job: job, arrayJob: json["array_job"]?.stringValue,
      arrayTask: json["array_task"]?.intValue, restarts: json["restarts"]?.intValue ?? 0,
      node: json["node"]?.stringValue)
  }

  var json: JSON {
    .object([
      "job": .string(job), "array_job": .optional(arrayJob), "array_task": .optional(arrayTask),
      "restarts": .int(restarts), "node": .optional(node),
    ])
  }

  /// `4711_3`, or `4711` for a job that is no array.
  package var name: String {
    guard let arrayJob, let arrayTask else { return job }
    return "\(arrayJob)_\(arrayTask)"
  }
}
