import ArgumentParser
import Foundation
import Glibc
import HansardServer
import Web

/// Asks a server on this machine whether it takes sessions: for the image's health check, where there is no curl.
struct HealthcheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "healthcheck",
        abstract: "Ask the server on this machine whether it is ready.",
        discussion: """
            Sends GET /readyz to HANSARD_LISTEN. With TLS it only checks that the port is open, since the certificate need \
            not be for this machine's own address.

            EXIT STATUS
            0 ready; 1 not ready or not there; 2 settings are wrong
            """
    )

    @OptionGroup var options: SettingsOptions

    @Option(help: ArgumentHelp("How long the answer may take.", valueName: "seconds"))
    var timeout = 3

    func validate() throws {
        guard (1...60).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 60 seconds") }
    }

    func run() async throws {
        let settings = try options.load(for: .development).settings
        let address = Self.reachable(settings.listen)
        let answer = try Self.ask(address, isTLS: settings.tls != nil, timeout: timeout)
        guard let answer else { return }
        let status = answer.split(separator: " ", maxSplits: 2).dropFirst().first ?? "?"
        guard status == "200" else { throw CommandFailure(message: "\(address) is not ready: HTTP \(status)") }
    }

    /// The address to dial for an address to listen on: "any" means this machine here.
    static func reachable(_ address: SocketAddress) -> SocketAddress {
        switch address.host {
        case "0.0.0.0": SocketAddress(host: "127.0.0.1", port: address.port)
        case "::": SocketAddress(host: "::1", port: address.port)
        default: address
        }
    }

    /// The status line of the answer; nil for TLS, where being connected is all that is asked.
    private static func ask(_ address: SocketAddress, isTLS: Bool, timeout: Int) throws -> String? {
        func failure(_ what: String) -> CommandFailure {
            CommandFailure(message: "\(address) \(what): \(String(cString: strerror(errno)))")
        }
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address.host, "\(address.port)", &hints, &found) == 0, let found else {
            throw CommandFailure(message: "\(address) is no address", status: .usage)
        }
        defer { freeaddrinfo(found) }
        let descriptor = socket(found.pointee.ai_family, found.pointee.ai_socktype, 0)
        guard descriptor >= 0 else { throw failure("cannot be asked") }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        // SO_SNDTIMEO bounds connect as well (socket(7)).
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 else {
            throw failure("does not answer")
        }
        if isTLS { return nil }
        let request = "GET /readyz HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n"
        guard send(descriptor, request, request.utf8.count, Int32(MSG_NOSIGNAL)) == request.utf8.count else {
            throw failure("does not listen")
        }
        var buffer = [UInt8](repeating: 0, count: 512)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { throw failure("gives no answer") }
        return String(decoding: buffer[..<count].prefix { $0 != 0x0d }, as: UTF8.self)
    }
}
