import EventLoops
import Foundation

/// A WebSocket read byte for byte: for close codes that libraries keep to themselves.
final class RawWebSocket: Sendable {
    struct Closure: Equatable {
        var code: Int
        var reason: String
    }

    private let descriptor: Int32
    private let thread = WorkerThread(name: "raw-websocket")

    private init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit {
        close(descriptor)
        thread.stop()
    }

    /// Connects and performs the handshake.
    static func open(port: Int, path: String, headers: String) async throws -> RawWebSocket {
        let raw = RawWebSocket(try connectedSocket(port: port))
        let request =
            "GET \(path) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\(headers)\r\n"
        try await raw.thread.run { [descriptor = raw.descriptor] in
            let bytes = Array(request.utf8)
            guard Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw POSIXError(.EPIPE)
            }
            var head: [UInt8] = []
            while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) { head += try read(1, from: descriptor) }
            guard String(decoding: head, as: UTF8.self).hasPrefix("HTTP/1.1 101") else { throw POSIXError(.EPROTO) }
        }
        return raw
    }

    /// Reads frames until the close frame (RFC 6455 section 5.2; servers do not mask).
    func closure() async throws -> Closure {
        try await thread.run { [descriptor] in
            while true {
                let head = try Self.read(2, from: descriptor)
                var length = Int(head[1] & 0x7F)
                if length == 126 { length = try Self.read(2, from: descriptor).reduce(0) { $0 << 8 | Int($1) } }
                if length == 127 { length = try Self.read(8, from: descriptor).reduce(0) { $0 << 8 | Int($1) } }
                let payload = try Self.read(length, from: descriptor)
                guard head[0] & 0x0F == 8, payload.count >= 2 else { continue }
                return Closure(
                    code: Int(payload[0]) << 8 | Int(payload[1]),
                    reason: String(decoding: payload.dropFirst(2), as: UTF8.self))
            }
        }
    }

    private static func read(_ count: Int, from descriptor: Int32) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: max(1, count))
        while bytes.count < count {
            let got = recv(descriptor, &piece, count - bytes.count, 0)
            guard got > 0 else { throw POSIXError(got == 0 ? .ECONNRESET : .ETIMEDOUT) }
            bytes += piece[..<got]
        }
        return bytes
    }
}

/// A blocking socket to a port of this machine, whose reads end after half a minute.
func connectedSocket(port: Int) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let code = withLoopbackAddress(port: port) { connect(descriptor, $0, $1) }
    guard code == 0 else {
        close(descriptor)
        throw POSIXError(POSIXError.Code(rawValue: errno) ?? .ECONNREFUSED)
    }
    return descriptor
}

private func withLoopbackAddress(port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}

/// A port that another program has, one that does not share it.
final class OccupiedPort: Sendable {
    let port: Int
    private let descriptor: Int32

    init() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.descriptor = descriptor
        guard withLoopbackAddress(port: 0, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 1) == 0
        else { throw POSIXError(POSIXError.Code(rawValue: errno) ?? .EADDRINUSE) }
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
}
