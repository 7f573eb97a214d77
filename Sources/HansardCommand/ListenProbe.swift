import Foundation
import Glibc
import Web

/// Says early, before a database is started, that the address to listen on cannot be had.
enum ListenProbe {
    /// Binds the address and lets go of it at once. Whoever takes it in between is found by the server itself.
    ///
    /// - Throws: `CommandFailure` that names the setting.
    static func check(_ address: SocketAddress) throws {
        guard address.port != 0, let failure = attempt(address) else { return }
        let other = SocketAddress(host: address.host, port: address.port == 65_535 ? 65_534 : address.port + 1)
        switch failure {
        case EADDRINUSE:
            throw CommandFailure(
                message:
                    "another program listens on \(address); end it, or choose another address: HANSARD_LISTEN=\(other)"
            )
        case EACCES:
            throw CommandFailure(
                message: "\(address) needs privileges: choose a port above 1023: HANSARD_LISTEN=\(address.host):8080"
            )
        default:
            let reason = String(cString: strerror(failure))
            throw CommandFailure(message: "cannot listen on \(address) (HANSARD_LISTEN): \(reason)")
        }
    }

    /// The error number, or nil if the address is free (ip(7): with SO_REUSEADDR only a listening socket is in the way).
    private static func attempt(_ address: SocketAddress) -> Int32? {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address.host, "\(address.port)", &hints, &found) == 0, let found else { return EADDRNOTAVAIL }
        defer { freeaddrinfo(found) }
        let descriptor = socket(found.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 else { return errno }
        return listen(descriptor, 1) == 0 ? nil : errno
    }
}
