import Hansard
import Postgres

/// What an error says to people.
func explain(_ error: any Error) -> String {
    switch error {
    case let error as CommandFailure: error.message
    case let error as HansardError: error.explanation
    case let error as PostgresError: error.detail.map { "\(error.message) (\($0))" } ?? error.message
    default: "\(error)"
    }
}
