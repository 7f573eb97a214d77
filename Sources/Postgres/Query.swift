/// A statement with its parameters apart.
///
/// It is written as a string literal, and whatever is interpolated becomes a parameter:
///
///     try await pool.query("SELECT name FROM tenants WHERE id = \(id)")
///
/// sends `SELECT name FROM tenants WHERE id = $1` and the id beside it. The literal parts are `StaticString`s, so that no
/// text which was made at run time can become SQL.
public struct Query: Sendable, Equatable, ExpressibleByStringInterpolation {
    /// The statement, with `$1`, `$2`, ... for its parameters.
    public let sql: String
    /// The parameters in order.
    public let parameters: [PostgresValue]

    /// A statement without parameters.
    public init(stringLiteral value: StaticString) {
        sql = value.description
        parameters = []
    }

    /// A statement with parameters.
    public init(stringInterpolation: StringInterpolation) {
        sql = stringInterpolation.sql
        parameters = stringInterpolation.parameters
    }

    /// What the compiler builds from a literal with interpolations.
    public struct StringInterpolation: StringInterpolationProtocol {
        var sql = ""
        var parameters: [PostgresValue] = []

        /// Called by the compiler.
        public init(literalCapacity: Int, interpolationCount: Int) {
            sql.reserveCapacity(literalCapacity + 4 * interpolationCount)
            parameters.reserveCapacity(interpolationCount)
        }

        /// Called by the compiler for each literal part.
        public mutating func appendLiteral(_ literal: StaticString) {
            sql += literal.description
        }

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
            sql += "$\(parameters.count)"
        }

        /// Writes a name (of a database, a table), quoted, where SQL does not take parameters.
        ///
        /// Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
        public mutating func appendInterpolation(identifier: String) {
            precondition(!identifier.contains("\0"), "a name in SQL cannot contain U+0000")
            sql += "\""
            for character in identifier.unicodeScalars {
                if character == "\"" { sql += "\"" }
                sql.unicodeScalars.append(character)
            }
            sql += "\""
        }
    }
}
