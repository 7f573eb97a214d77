/// Text that must never be shown: it describes itself as `***`, in logs, errors and debuggers alike.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself. Whoever takes it is answerable for where it goes.
    public let revealed: String

    /// Hides a text.
    public init(_ text: String) { revealed = text }

    /// `***`.
    public var description: String { "***" }
    /// `***`.
    public var debugDescription: String { "***" }
    /// Nothing, so that `dump` and string interpolation of what holds it show nothing either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
