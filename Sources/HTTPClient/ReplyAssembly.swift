/// A response as curl delivers it, line by line and piece by piece, within its limits.
struct ReplyAssembly {
    /// Why the rest is not wanted.
    enum Breach: Equatable {
        /// More than the limit, in bytes.
        case headersTooLarge(Int)
        /// More than the limit, in bytes.
        case bodyTooLarge(Int)
    }

    private let maximumHeaderBytes: Int
    private let maximumBodyBytes: Int
    private var headerBytes = 0
    private var status = 0
    private var headers: [TransferHeader] = []
    private var body: [UInt8] = []
    private var isHeadComplete = false
    /// Set once; nothing is taken any more.
    private(set) var breach: Breach?

    /// Nothing has arrived.
    init(maximumHeaderBytes: Int, maximumBodyBytes: Int) {
        self.maximumHeaderBytes = maximumHeaderBytes
        self.maximumBodyBytes = maximumBodyBytes
    }

    /// Bytes of the body so far.
    var bodyBytes: Int { body.count }

    /// A status line, a field, the empty line or a trailer arrived.
    ///
    /// - Returns: whether more is wanted.
    mutating func headerLineArrived(_ bytes: UnsafeRawBufferPointer) -> Bool {
        headerBytes += bytes.count
        guard headerBytes <= maximumHeaderBytes else {
            breach = .headersTooLarge(maximumHeaderBytes)
            return false
        }
        let line = Self.trimmed(bytes[...])
        if isHeadComplete {
            // After an informational response the real one begins; what comes after that one is a trailer.
            guard (100...199).contains(status), String(decoding: line.prefix(5), as: UTF8.self) == "HTTP/" else {
                return true
            }
            isHeadComplete = false
            status = 0
            headers = []
        }
        if status == 0 {
            let fields = line.split(separator: 0x20, omittingEmptySubsequences: true)
            status = fields.count > 1 ? Int(String(decoding: fields[1], as: UTF8.self)) ?? -1 : -1
        } else if line.isEmpty {
            isHeadComplete = true
        } else if bytes.first == 0x20 || bytes.first == 0x09, var last = headers.popLast() {
            // A folded line (RFC 9112, section 5.2).
            last.value += " " + String(decoding: line, as: UTF8.self)
            headers.append(last)
        } else if let colon = line.firstIndex(of: UInt8(ascii: ":")) {
            let name = String(decoding: Self.trimmed(line[..<colon]), as: UTF8.self)
            let value = String(decoding: Self.trimmed(line[(colon + 1)...]), as: UTF8.self)
            headers.append(TransferHeader(name, value))
        }
        return true
    }

    /// A piece of the body arrived.
    ///
    /// - Parameter announced: the length that the response's head gives, if it does.
    /// - Returns: whether more is wanted.
    mutating func bodyArrived(_ bytes: UnsafeRawBufferPointer, announced: Int? = nil) -> Bool {
        guard bytes.count <= maximumBodyBytes - body.count, announced ?? 0 <= maximumBodyBytes else {
            breach = .bodyTooLarge(maximumBodyBytes)
            return false
        }
        body += bytes
        return true
    }

    /// What has arrived, if it is a response.
    func response() -> TransferResponse? {
        guard (100...599).contains(status), isHeadComplete else { return nil }
        return TransferResponse(status: status, headers: headers, body: body)
    }

    private static func trimmed(_ bytes: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
        let start = bytes.drop(while: isBlank)
        guard let last = start.lastIndex(where: { !isBlank($0) }) else { return start }
        return start[...last]
    }
}
