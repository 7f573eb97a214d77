import FoundationEssentials

/// Everything that is wrong with the settings, so that an operator corrects it in one go.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One thing that is wrong.
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        /// Where it was found: `HANSARD_LISTEN (environment)` or `hansard.yaml:3: listen`.
        public let place: String
        /// What is wrong and what would be right. Holds no secret.
        public let message: String

        /// `place: message`.
        public var description: String { "\(place): \(message)" }
    }

    /// At least one, in the order of the table.
    public let problems: [Problem]

    /// A heading and a line for each problem.
    public var description: String {
        let heading = problems.count == 1 ? "a setting is wrong" : "\(problems.count) settings are wrong"
        return "\(heading):\n" + problems.map { "  \($0)" }.joined(separator: "\n")
    }
}

/// A value as an error may show it: short, and without anything that a terminal would obey.
func quotedForPeople(_ text: String, limit: Int = 80) -> String {
    let visible = text.unicodeScalars.prefix(limit).map { scalar in
        scalar.properties.generalCategory == .control ? scalar.escaped(asASCII: true) : String(scalar)
    }
    return "\"\(visible.joined())\(text.unicodeScalars.count > limit ? "..." : "")\""
}

/// The name that somebody who wrote `text` most likely meant: the nearest by insertions, deletions and replacements, if it
/// is near enough to be worth saying.
func nearest(to text: String, among names: [String]) -> String? {
    let distances = names.map { (name: $0, distance: editDistance(text, $0)) }
    guard let best = distances.min(by: { $0.distance < $1.distance }) else { return nil }
    return best.distance <= max(2, best.name.count / 3) ? best.name : nil
}

/// Levenshtein's distance, over at most 64 bytes of each.
private func editDistance(_ left: String, _ right: String) -> Int {
    let (left, right) = (Array(left.utf8.prefix(64)), Array(right.utf8.prefix(64)))
    var row = Array(0...right.count)
    for (index, byte) in left.enumerated() {
        var diagonal = row[0]
        row[0] = index + 1
        for column in right.indices {
            let replaced = diagonal + (byte == right[column] ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
        }
    }
    return row[right.count]
}
