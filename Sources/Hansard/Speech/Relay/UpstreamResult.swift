/// What an upstream service said, in times of the stream that it was said on.
public struct UpstreamResult: Sendable, Equatable {
    /// The result itself: `through` and the words' times count what the stream was sent.
    public var result: EngineResult
    /// It will not change.
    public var isFinal: Bool
    /// It answers a message that asked for finals.
    public var answersFlush: Bool

    /// A result as a service gave it.
    public init(_ result: EngineResult, isFinal: Bool, answersFlush: Bool = false) {
        self.result = result
        self.isFinal = isFinal
        self.answersFlush = answersFlush
    }
}

/// How a stream of an upstream service ended.
public enum UpstreamEnd: Sendable, Equatable {
    /// The service closed it, as if all were said.
    case clean
    /// It broke, or the service says that it cannot now. The text is for the log.
    case failed(String)
    /// There are too many streams, or they are opened too fast.
    case limited(String)
    /// The service will not have us, or this stream, however often it is asked.
    case refused(String)
}
