internal import CLibwebsockets
import Foundation

/// Listening sockets and their options: one socket per loop on the same port, among which the kernel divides the connections.
enum ListeningSocket {
    /// How many connections may wait to be accepted.
    static let backlog: Int32 = 1_024

    /// Bytes that wait in the kernel while nobody reads (it keeps as many again for itself). Pings wait behind them, and the
    /// kernel's own choice would be megabytes; this is 2 s of 16-bit audio at 16 kHz, and enough for any rate of audio over
    /// any distance. Connections inherit it.
    static let receiveBuffer: Int32 = 64 << 10

    /// Opens one; with port 0 the system chooses.
    static func open(_ address: SocketAddress) throws(WebServerError) -> (descriptor: Int32, port: Int) {
        guard let ip = IPAddress(address.host == "localhost" ? "127.0.0.1" : address.host),
            (0...65_535).contains(address.port)
        else { throw WebServerError("cannot listen on \(address): it takes an IP address and a port of 0 ... 65535") }
        let isIPv6 = !ip.isIPv4 || address.host.contains(":")
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, type, 0)
        guard descriptor >= 0 else { throw failure("socket", address) }
        set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
        set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)
        set(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer)
        // `::` alone stands for both families; any other IPv6 address can only be that.
        if isIPv6 { set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
        var storage = socketAddress(address.host, isIPv6: isIPv6, port: UInt16(address.port))
        let length = socklen_t(isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        guard bound == 0, listen(descriptor, backlog) == 0, let port = localPort(descriptor) else {
            let error = failure("bind", address)
            Foundation.close(descriptor)
            throw error
        }
        return (descriptor, port)
    }

    /// The next waiting connection with its other end, or `nil` and `errno`. Without Nagle's delay: messages are small and urgent.
    static func accept(_ descriptor: Int32) -> (descriptor: Int32, peer: PeerAddress?)? {
        var storage = sockaddr_storage()
        let accepted = clws_accept(descriptor, &storage)
        guard accepted >= 0 else { return nil }
        set(accepted, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        return (accepted, PeerAddress(storage))
    }

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func localPort(_ descriptor: Int32) -> Int? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return code == 0 ? PeerAddress(storage).map { Int($0.port) } : nil
    }

    private static func socketAddress(_ host: String, isIPv6: Bool, port: UInt16) -> sockaddr_storage {
        var storage = sockaddr_storage()
        if isIPv6 {
            var six = sockaddr_in6()
            six.sin6_family = sa_family_t(AF_INET6)
            six.sin6_port = port.bigEndian
            inet_pton(AF_INET6, host, &six.sin6_addr)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: six, as: sockaddr_in6.self) }
        } else {
            var four = sockaddr_in()
            four.sin_family = sa_family_t(AF_INET)
            four.sin_port = port.bigEndian
            inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &four.sin_addr)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: four, as: sockaddr_in.self) }
        }
        return storage
    }

    private static func failure(_ call: String, _ address: SocketAddress) -> WebServerError {
        WebServerError("cannot listen on \(address): \(call): \(String(cString: strerror(errno)))")
    }
}
