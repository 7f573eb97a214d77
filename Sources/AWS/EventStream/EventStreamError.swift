/// Why bytes are no event-stream message, or why a message cannot be written as one.
public struct EventStreamError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong.
    public enum Problem: Sendable, Equatable {
        /// Fewer bytes than the smallest message has; how many.
        case tooShort(Int)
        /// The first eight bytes were changed on the way.
        case preludeChecksum(declared: UInt32, computed: UInt32)
        /// Anything else was changed on the way.
        case messageChecksum(declared: UInt32, computed: UInt32)
        /// The message says another length than it has: cut off, or followed by more.
        case totalLength(declared: Int, actual: Int)
        /// The headers would end behind the message.
        case headersBeyondMessage(Int)
        /// More than `EventStreamMessage.maximumHeadersBytes`.
        case headersTooLong(Int)
        /// More than `EventStreamMessage.maximumPayloadBytes`.
        case payloadTooLong(Int)
        /// A header is not complete where the headers end.
        case headerCutOff
        /// A header has no name.
        case emptyName
        /// More than `EventStreamMessage.maximumNameBytes`.
        case nameTooLong(Int)
        /// A header's name is not UTF-8.
        case nameNotUTF8
        /// A second header of this name.
        case duplicateName(String)
        /// No value is of this type.
        case unknownType(UInt8)
        /// More than `EventStreamMessage.maximumValueBytes`.
        case valueTooLong(Int)
        /// A string is not UTF-8.
        case valueNotUTF8
        /// The payload is not what an event of its type holds.
        case payload(String)
    }

    /// What is wrong.
    public var problem: Problem
    /// Where: the index of the byte in the message.
    public var offset: Int

    init(_ problem: Problem, at offset: Int) {
        self.problem = problem
        self.offset = offset
    }

    /// For logs; holds no payload, and of the headers no value.
    public var description: String { "event-stream message, byte \(offset): \(explanation)" }

    private var explanation: String {
        switch problem {
        case .tooShort(let count):
            "\(count) bytes are too few: a message has at least \(EventStreamMessage.overheadBytes)"
        case .preludeChecksum(let declared, let computed):
            "the prelude's checksum is \(Self.hexadecimal(declared)), but its bytes give \(Self.hexadecimal(computed))"
        case .messageChecksum(let declared, let computed):
            "the checksum is \(Self.hexadecimal(declared)), but the bytes give \(Self.hexadecimal(computed))"
        case .totalLength(let declared, let actual):
            "it says that it has \(declared) bytes, but it has \(actual)"
        case .headersBeyondMessage(let count):
            "headers of \(count) bytes do not fit into the message"
        case .headersTooLong(let count):
            "headers of \(count) bytes, of at most \(EventStreamMessage.maximumHeadersBytes)"
        case .payloadTooLong(let count):
            "a payload of \(count) bytes, of at most \(EventStreamMessage.maximumPayloadBytes)"
        case .headerCutOff: "a header goes on where the headers end"
        case .emptyName: "a header without name"
        case .nameTooLong(let count):
            "a header's name of \(count) bytes, of at most \(EventStreamMessage.maximumNameBytes)"
        case .nameNotUTF8: "a header's name is not UTF-8"
        case .duplicateName(let name): "a second header \"\(name)\""
        case .unknownType(let type): "a value of type \(type), of 0 to 9"
        case .valueTooLong(let count):
            "a value of \(count) bytes, of at most \(EventStreamMessage.maximumValueBytes)"
        case .valueNotUTF8: "a string is not UTF-8"
        case .payload(let why): why
        }
    }

    private static func hexadecimal(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }
}
