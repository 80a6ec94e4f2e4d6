/// What `submit` asks of SLURM.
public struct SubmitOptions: Sendable, Equatable {
  package static let fileKeys: [String] = []
}
