import FoundationEssentials
import Hansard
import Web

extension Route.Match {
    /// Characters of a value of the query that is compared with what is stored.
    static let textLength = 1...200

    /// One value of the query.
    ///
    /// - Throws: `.invalid` if it comes twice.
    func value(_ name: String) throws(HansardError) -> String? {
        let values = query(name)
        guard values.count <= 1 else {
            throw HansardError(.invalid, "\(name) may come once, not \(values.count) times", field: name)
        }
        return values.first
    }

    /// One value of the query that is compared with what is stored.
    func text(_ name: String, _ length: ClosedRange<Int> = textLength) throws(HansardError) -> String? {
        try field(name) { field throws(HansardError) in try field.text(length) }
    }

    /// A time in the query.
    func time(_ name: String) throws(HansardError) -> Date? {
        try field(name) { field throws(HansardError) in try field.time() }
    }

    /// One of a type's names.
    func choice<Name: RawRepresentable & CaseIterable>(
        _ name: String, _ type: Name.Type = Name.self
    ) throws(HansardError) -> Name? where Name.RawValue == String {
        try field(name) { field throws(HansardError) in try field.name(type) }
    }

    /// A whole number within a range.
    func number(_ name: String, _ range: ClosedRange<Int>) throws(HansardError) -> Int? {
        guard let text = try value(name) else { return nil }
        guard let number = Int(plain: text), range.contains(number) else {
            throw HansardError(
                .invalid, "\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound)", field: name)
        }
        return number
    }

    /// Throws `.invalid` if the query has parameters that this route does not know.
    func requireQuery(only known: Set<String>) throws(HansardError) {
        guard let unknown = QueryItem.parse(request.query).map(\.name).first(where: { !known.contains($0) })
        else { return }
        let hint = known.isEmpty ? "there are none here" : "known are " + known.sorted().joined(separator: ", ")
        throw HansardError(
            .invalid, "'\(unknown.prefix(64))' is not a parameter here: \(hint)", field: String(unknown.prefix(64)))
    }

    private func field<Value>(
        _ name: String, _ read: (JSONField) throws(HansardError) -> Value
    ) throws(HansardError) -> Value? {
        guard let text = try value(name) else { return nil }
        return try read(JSONField(value: .string(text), pointer: name))
    }
}

extension QueryItem {
    /// Throws `.invalid` for the first item of a query that is no text: what it stood for can be neither stored nor compared.
    static func requireText(_ query: String) throws(HansardError) {
        guard let item = parse(query).first(where: { !$0.isText }) else { return }
        let name = String(item.name.prefix(64))
        throw HansardError(.invalid, "the parameter '\(name)' must be \(textRule), its name and its value", field: name)
    }
}
