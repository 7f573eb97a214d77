/// Why local speech recognition cannot start or go on.
public struct LocalSpeechError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds of failure; more may come.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name, for logs and counters.
        public let description: String

        /// A file of the speech model is not there.
        public static let modelMissing = Code(description: "modelMissing")
        /// The library refused the model.
        public static let modelRejected = Code(description: "modelRejected")
        /// A sample rate out of range, or a reservation used twice.
        public static let invalidUse = Code(description: "invalidUse")
        /// The sender ignored back-pressure until the queue's limit.
        public static let overrun = Code(description: "overrun")
        /// The library returned an error while decoding.
        public static let decoding = Code(description: "decoding")
        /// The pool has been shut down.
        public static let shutDown = Code(description: "shutDown")
    }

    /// The kind of failure.
    public let code: Code
    /// One sentence: what was wrong, and what would be right.
    public let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The message.
    public var description: String { message }
}
