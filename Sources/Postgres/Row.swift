/// One row of an answer.
public struct Row: Sendable, Equatable {
    /// The columns' names in order; shared between the rows of an answer.
    public let columns: [String]
    /// The columns' values in order.
    public let values: [PostgresValue]

    init(columns: [String], values: [PostgresValue]) {
        self.columns = columns
        self.values = values
    }

    /// The value of a column.
    ///
    /// - Throws: `.protocol` if there is no such column or it holds another type; ask for an optional where null is
    ///   possible.
    public func value<Value: PostgresConvertible>(
        _ column: String,
        as type: Value.Type = Value.self
    ) throws(PostgresError) -> Value {
        guard let index = columns.firstIndex(of: column) else {
            throw PostgresError(
                .protocol,
                "the answer has no column '\(column)', only \(columns.joined(separator: ", "))"
            )
        }
        guard let value = Value(postgresValue: values[index]) else {
            let found = values[index] == .null ? "null" : "another type"
            throw PostgresError(.protocol, "the column '\(column)' was read as \(Value.self) but holds \(found)")
        }
        return value
    }
}
