/// One row of an answer.
public struct Row: Sendable, Equatable {
    /// The columns of an answer; shared between its rows.
    struct Columns: Sendable, Equatable {
        let names: [String]
        /// The first of each name: snapshots of a million rows look up twenty columns in each.
        let places: [String: Int]

        init(_ names: [String]) {
            self.names = names
            places = Dictionary(zip(names, names.indices)) { first, _ in first }
        }
    }

    private let columns: Columns
    /// The columns' values in order.
    public let values: [PostgresValue]

    init(columns: Columns, values: [PostgresValue]) {
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
        guard let index = columns.places[column] else {
            throw PostgresError(
                .protocol,
                "the answer has no column '\(column)', only \(columns.names.joined(separator: ", "))"
            )
        }
        guard let value = Value(postgresValue: values[index]) else {
            let found = values[index] == .null ? "null" : "another type"
            throw PostgresError(.protocol, "the column '\(column)' was read as \(Value.self) but holds \(found)")
        }
        return value
    }
}
