/// How log messages are written.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `text` if standard error is a terminal, else `json`.
    case auto
    /// One JSON object per line.
    case json
    /// A line for people.
    case text
}
