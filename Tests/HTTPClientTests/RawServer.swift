import EventLoops
import Foundation
import Synchronization

struct Failure: Error, CustomStringConvertible {
    let description: String
}

/// A TCP server on a free port of 127.0.0.1 that does exactly what its script says, each connection on a thread of its own.
final class RawServer: Sendable {
    let port: Int
    private let listener: Int32
    private let peers = Locked<[RawPeer]>([])
    /// Requests, as scripts have noted them.
    let heads = Locked<[String]>([])

    /// - Parameter script: is given a connection and its number, from 0; the connection is closed when it returns or throws.
    init(backlog: Int32 = 512, accepts: Bool = true, script: @escaping @Sendable (RawPeer, RawServer) throws -> Void)
        throws
    {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(port: 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { [listener] in
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) + listen(listener, backlog) + getsockname(listener, $0, &size)
            }
        }
        guard code == 0 else { throw Failure(description: "listen: \(errno)") }
        port = Int(UInt16(bigEndian: address.sin_port))
        guard accepts else { return }
        Thread { [self] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { return }
                let peer = peers.withLock { peers in
                    peers.append(RawPeer(descriptor, index: peers.count))
                    return peers[peers.count - 1]
                }
                Thread {
                    try? script(peer, self)
                    peer.close()
                }.start()
            }
        }.start()
    }

    var origin: String { "http://127.0.0.1:\(port)" }
    var connections: Int { peers.withLock { $0.count } }

    /// Ends the thread and all connections.
    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        for peer in peers.withLock({ $0 }) { peer.close() }
    }

    /// Reads a request with its body and notes its head.
    func readRequest(from peer: RawPeer) throws -> (head: String, body: [UInt8]) {
        let head = try peer.readHead()
        heads.withLock { $0.append(head) }
        let length = head.lowercased().components(separatedBy: "content-length: ").dropFirst().first
        let count = length.flatMap { Int($0.prefix { $0.isNumber }) } ?? 0
        return (head, try peer.read(count))
    }
}

func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}

/// One connection of a `RawServer`, used by its script; every call ends within 20 s.
final class RawPeer: Sendable {
    let index: Int
    private let descriptor: Int32
    private let isOpen = Locked(true)
    private let buffer = Locked<[UInt8]>([])

    init(_ descriptor: Int32, index: Int) {
        self.descriptor = descriptor
        self.index = index
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
    }

    deinit { Glibc.close(descriptor) }

    /// Closes the connection; the descriptor lives as long as the object, so that no other gets its number meanwhile.
    func close() {
        isOpen.withLock { isOpen in
            if isOpen { shutdown(descriptor, Int32(SHUT_RDWR)) }
            isOpen = false
        }
    }

    /// Makes the end of the connection a reset.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
        let empty = open("/dev/null", O_RDONLY)
        dup2(empty, descriptor)
        Glibc.close(empty)
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Failure(description: "send: \(errno)") }
            sent += count
        }
    }

    /// - Returns: nothing at the end of the stream.
    func readSome() throws -> [UInt8] {
        var piece = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &piece, piece.count, 0)
        guard count >= 0 else { throw Failure(description: "recv: \(errno)") }
        return Array(piece[..<count])
    }

    func read(_ count: Int) throws -> [UInt8] {
        var bytes = buffer.withLock { $0 }
        while bytes.count < count {
            let some = try readSome()
            guard !some.isEmpty else { throw Failure(description: "end of stream") }
            bytes += some
        }
        let rest = Array(bytes[count...])
        buffer.withLock { $0 = rest }
        return Array(bytes[..<count])
    }

    /// A request line and headers, with the empty line.
    func readHead() throws -> String {
        var bytes = buffer.withLock { $0 }
        while true {
            if let range = bytes.firstRange(of: Array("\r\n\r\n".utf8)) {
                let rest = Array(bytes[range.upperBound...])
                buffer.withLock { $0 = rest }
                return String(decoding: bytes[..<range.upperBound], as: UTF8.self)
            }
            let some = try readSome()
            guard !some.isEmpty else { throw Failure(description: "end of stream") }
            bytes += some
        }
    }

    /// Waits for the other side to close.
    func readToEnd() { while let some = try? readSome(), !some.isEmpty {} }
}
