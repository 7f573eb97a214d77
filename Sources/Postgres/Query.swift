/// A statement with its parameters apart.
///
/// It is written as a string literal, and whatever is interpolated becomes a parameter:
///
///     try await pool.query("SELECT name FROM tenants WHERE id = \(id)")
///
/// sends `SELECT name FROM tenants WHERE id = $1` and the id beside it. The literal parts are `StaticString`s, so that no
/// text which was made at run time can become SQL. A statement in a statement becomes a part of it, with its parameters.
public struct Query: Sendable, Equatable, ExpressibleByStringInterpolation {
    /// The statement, with `$1`, `$2`, ... for its parameters.
    public let sql: String
    /// The parameters in order.
    public let parameters: [PostgresValue]
    /// What is around the parameters: one more than there are of them.
    private let literals: [String]

    /// A statement without parameters.
    public init(stringLiteral value: StaticString) {
        sql = value.description
        parameters = []
        literals = [sql]
    }

    /// A statement with parameters.
    public init(stringInterpolation: StringInterpolation) {
        literals = stringInterpolation.literals
        parameters = stringInterpolation.parameters
        sql = literals.dropFirst().enumerated().reduce(into: literals[0]) { $0 += "$\($1.offset + 1)\($1.element)" }
    }

    /// What the compiler builds from a literal with interpolations.
    public struct StringInterpolation: StringInterpolationProtocol {
        var literals = [""]
        var parameters: [PostgresValue] = []

        /// Called by the compiler.
        public init(literalCapacity: Int, interpolationCount: Int) {
            literals.reserveCapacity(interpolationCount + 1)
            parameters.reserveCapacity(interpolationCount)
        }

        /// Called by the compiler for each literal part.
        public mutating func appendLiteral(_ literal: StaticString) { append(literal.description) }

        private mutating func append(_ text: String) { literals[literals.count - 1] += text }

        /// Makes the value a parameter.
        public mutating func appendInterpolation(_ value: some PostgresConvertible) {
            appendInterpolation(value.postgresValue)
        }

        /// Makes the value, or null, a parameter.
        public mutating func appendInterpolation<Value: PostgresConvertible>(_ value: Value?) {
            appendInterpolation(value.postgresValue)
        }

        /// Makes the value a parameter.
        public mutating func appendInterpolation(_ value: PostgresValue) {
            parameters.append(value)
            literals.append("")
        }

        /// Makes the statement a part of this one, with its parameters.
        public mutating func appendInterpolation(_ part: Query) {
            append(part.literals[0])
            parameters += part.parameters
            literals += part.literals.dropFirst()
        }

        /// Writes a name (of a database, a table), quoted, where SQL does not take parameters.
        ///
        /// Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
        public mutating func appendInterpolation(identifier: String) {
            precondition(!identifier.contains("\0"), "a name in SQL cannot contain U+0000")
            append("\"")
            for character in identifier.unicodeScalars {
                if character == "\"" { append("\"") }
                append(String(character))
            }
            append("\"")
        }
    }
}
