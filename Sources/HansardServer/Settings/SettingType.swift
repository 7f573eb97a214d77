/// How the text of a setting becomes a value, and how to tell a person what is right.
struct SettingType<Value: Sendable>: Sendable {
    /// What the table shows, for instance `duration`.
    let unit: String
    /// Completes the sentence "expected ...".
    let expected: String
    /// Nil for a text that is not right.
    let parse: @Sendable (String) -> Value?
    /// The form that `parse` reads.
    let format: @Sendable (Value) -> String

    /// A type for settings where the word `none` stands for no value.
    static func orNone<Wrapped>(_ type: SettingType<Wrapped>) -> SettingType where Value == Wrapped? {
        SettingType(
            unit: type.unit,
            expected: "\(type.expected), or none",
            parse: { $0 == "none" ? .some(nil) : type.parse($0).map { $0 } },
            format: { $0.map(type.format) ?? "none" }
        )
    }

    /// A type for settings that have no value only when they are not given.
    static func optional<Wrapped>(_ type: SettingType<Wrapped>) -> SettingType where Value == Wrapped? {
        SettingType(
            unit: type.unit,
            expected: type.expected,
            parse: { type.parse($0).map { $0 } },
            format: { $0.map(type.format) ?? "none" }
        )
    }
}

/// What `hansard dev` takes for a setting that is not given.
public enum Development: Sendable, Equatable {
    /// This value, in the form that the setting is read in.
    case value(String)
    /// What `dev` makes itself, in words.
    case made(String)

    /// For people.
    public var text: String {
        switch self {
        case .value(let text), .made(let text): text
        }
    }
}

/// One row of the table: everything there is to know about a setting.
public struct Setting: Sendable {
    /// The variable in the environment, `HANSARD_...`.
    public let name: String
    /// What kind of value it takes, for instance `duration`.
    public let unit: String
    /// One line for people.
    public let meaning: String
    /// What is right, to complete "expected ...".
    public let expected: String
    /// A secret's value is never shown.
    public let isSecret: Bool
    /// Another variable that is read if this one is not given.
    public let fallback: String?
    /// What holds when nothing is given, in words if it depends on the machine.
    public let defaultText: String
    /// What `hansard dev` takes instead, if that is something else.
    public let development: Development?

    /// Sets the value; false if the text is not right.
    let apply: @Sendable (String, inout Settings) -> Bool
    /// The value in the form that it is read in.
    let show: @Sendable (Settings) -> String

    /// The key in the YAML file: the name in lower case, without `HANSARD_`.
    public var key: String { name.dropFirst(Self.prefix.count).lowercased() }
    /// What all names begin with.
    public static let prefix = "HANSARD_"
    /// The unit of addresses.
    static let addressUnit = "URL"

    /// What was given, without the user and password that an address may have. A password may hold any sign, so that everything
    /// up to the last `@` counts as one.
    func withoutUserInfo(_ text: String) -> String {
        guard let at = text.lastIndex(of: "@") else { return text }
        let scheme = text[..<at].firstRange(of: "://")
        guard scheme != nil || unit == Self.addressUnit else { return text }
        return "\(text[..<(scheme?.upperBound ?? text.startIndex)])***\(text[at...])"
    }

    /// A row; the default is the property's initial value, unless `defaultText` says it in words.
    init<Value: Sendable>(
        _ name: String,
        _ property: any WritableKeyPath<Settings, Value> & Sendable,
        _ type: SettingType<Value>,
        default defaultText: String? = nil,
        development: Development? = nil,
        fallback: String? = nil,
        isSecret: Bool = false,
        _ meaning: String
    ) {
        precondition(name.hasPrefix(Self.prefix), "settings begin with \(Self.prefix)")
        self.name = name
        unit = type.unit
        self.meaning = meaning
        expected = type.expected
        self.isSecret = isSecret
        self.fallback = fallback
        self.defaultText = defaultText ?? type.format(Settings()[keyPath: property])
        self.development = development
        apply = { text, settings in
            guard let value = type.parse(text) else { return false }
            settings[keyPath: property] = value
            return true
        }
        show = { type.format($0[keyPath: property]) }
    }
}
