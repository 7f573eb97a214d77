/// Carries a value that lives on one event loop through code that does not, for instance into a closure given to
/// `EventLoop.execute`; it can be opened on that loop alone.
///
/// `@unchecked Sendable`: the value is reached only after checking that the calling thread is the loop's. Its last reference may be
/// dropped on another thread, so a type that must be destroyed on its loop must not depend on `deinit` for it.
public struct LoopBound<Value>: @unchecked Sendable {
    /// Where the value lives.
    public let loop: EventLoop
    private let content: Value

    /// Wraps a value that lives on `loop`.
    public init(_ value: Value, on loop: EventLoop) {
        content = value
        self.loop = loop
    }

    /// The value. Traps anywhere but on the loop.
    public var value: Value {
        loop.preconditionIsCurrent()
        return content
    }
}

extension EventLoop {
    /// The one object of a type that belongs to this loop, made at first use: for a library that needs one context per loop.
    /// Loop thread only. It is let go of after the hooks of `whenStopping` have run.
    public func attachment<Object: AnyObject>(
        _ type: Object.Type,
        orMake make: (EventLoop) throws -> Object
    ) rethrows -> Object {
        preconditionIsCurrent()
        if let found = attachments[ObjectIdentifier(type)] as? Object { return found }
        let made = try make(self)
        attachments[ObjectIdentifier(type)] = made
        return made
    }
}
