import EventLoops
import Foundation
import HTTPClient
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct TLSTests {
    @Test func aCertificateMustBeTrustedAndNameTheHost() async throws {
        try await withCertificate(for: "IP:127.0.0.1") { files in
            try await withWebServer(tls: files) { origin, server in
                try await withClient { client in
                    let error = await failure(of: client, get(origin))
                    #expect(error.code == 60, "\(error)")
                    #expect(error.wasNotSent)
                }
                try await withClient({ $0.authoritiesFile = files.certificate }) { client in
                    for _ in 0..<5 {
                        let response = try await client.send(get(origin))
                        #expect(response.status == 200)
                    }
                    #expect(client.statistics.connectionsOpened == 1)
                    let body = [UInt8](repeating: 7, count: 300_000)
                    let request = TransferRequest(method: "PUT", origin: origin, body: body, timeout: .seconds(30))
                    let response = try await client.send(request)
                    #expect(response.body == body)
                    // The certificate is for the address, not for the name.
                    let error = await failure(of: client, get("https://localhost:\(server.port)"))
                    #expect(error.code == 60, "\(error)")
                    #expect(error.wasNotSent)
                }
                #expect(server.counters.requests == 6)
            }
        }
    }

    @Test func anotherHostsCertificateIsRefused() async throws {
        try await withCertificate(for: "DNS:other.test") { files in
            try await withWebServer(tls: files) { origin, server in
                try await withClient({ $0.authoritiesFile = files.certificate }) { client in
                    let error = await failure(of: client, get(origin))
                    #expect(error.code == 60, "\(error)")
                    #expect(error.wasNotSent)
                }
                #expect(server.counters.requests == 0)
            }
        }
    }

    @Test func plainHTTPIsNoAnswerToTLS() async throws {
        try await withWebServer { origin, server in
            try await withClient { client in
                let error = await failure(of: client, get(origin.replacing("http:", with: "https:")))
                #expect(error.code == 35, "\(error)")
                #expect(error.wasNotSent)
            }
        }
    }

    @Test func aFileOfAuthoritiesThatIsMissingOrIsNoneIsAnError() async throws {
        var options = HTTPClient.Options()
        options.authoritiesFile = "/nonexistent.pem"
        let error = #expect(throws: CurlError.self) { try HTTPClient(options: options) }
        #expect(error?.code == 77)
        #expect(error?.message.contains("/nonexistent.pem") == true)
        try await withCertificate(for: "IP:127.0.0.1") { files in
            try await withWebServer(tls: files) { origin, _ in
                try await withClient({ $0.authoritiesFile = files.key }) { client in
                    let error = await failure(of: client, get(origin))
                    #expect(error.code == 77, "\(error)")
                    #expect(error.wasNotSent)
                }
            }
        }
    }

    @Test(arguments: [true, false]) func theHandshakeOffersHTTP2IfItMay(offersHTTP2: Bool) async throws {
        let hello = Locked<[UInt8]>([])
        try await withRawServer { peer, _ in
            let header = try peer.read(5)
            let rest = try peer.read(Int(header[3]) << 8 | Int(header[4]))
            hello.withLock { $0 = rest }
        } _: { server in
            try await withClient({ $0.offersHTTP2 = offersHTTP2 }) { client in
                let origin = "https://localhost:\(server.port)"
                let error = await failure(of: client, get(origin))
                #expect(error.code == 35, "\(error)")
                #expect(error.wasNotSent)
                let bytes = hello.withLock { $0 }
                // The list of RFC 7301: lengths and names.
                #expect(bytes.contains(Array("\u{02}h2\u{08}http/1.1".utf8)) == offersHTTP2)
                #expect(bytes.contains(Array("\u{08}http/1.1".utf8)))
                #expect(bytes.contains(Array("localhost".utf8)))
            }
        }
    }

    /// With nginx if this machine has it, since the project's own server speaks HTTP/1.1 alone.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/sbin/nginx")))
    func transfersShareAConnectionOfHTTP2() async throws {
        try await withCertificate(for: "IP:127.0.0.1") { files in
            try await withNginx(files) { origin in
                try await withClient({ options in
                    options.authoritiesFile = files.certificate
                    options.maximumConnectionsPerOrigin = 50
                }) { client in
                    let first = try await client.send(get(origin))
                    #expect(first.status == 200)
                    #expect(first.header("x-protocol") == "HTTP/2.0")
                    try await withThrowingTaskGroup { group in
                        for index in 0..<200 {
                            group.addTask {
                                let body = [UInt8](repeating: 1, count: index * 100)
                                let method = ["GET", "POST", "PUT", "HEAD"][index % 4]
                                let request = TransferRequest(
                                    method: method, origin: origin, path: "/\(index)",
                                    body: index % 4 == 1 || index % 4 == 2 ? body : [], timeout: .seconds(60))
                                let response = try await client.send(request)
                                #expect(response.status == 200)
                                let expected = method == "HEAD" ? "" : "\(method) /\(index)\n"
                                #expect(String(decoding: response.body, as: UTF8.self) == expected)
                            }
                        }
                        try await group.waitForAll()
                    }
                    #expect(client.statistics.responses == 201)
                    #expect(client.statistics.connectionsOpened == 1)
                    var limited = get(origin)
                    limited.maximumResponseBytes = 3
                    let error = await failure(of: client, limited)
                    #expect(error.code == 63)
                    let task = Task { try await client.send(get(origin, "/slow")) }
                    try await eventually("under way") { client.statistics.underWay == 1 }
                    task.cancel()
                    await #expect(throws: CancellationError.self) { try await task.value }
                    let last = try await client.send(get(origin, "/last"))
                    #expect(last.status == 200)
                }
            }
        }
    }
}

/// A certificate that signs itself, made by the openssl command, in a folder that `body` may use.
private func withCertificate(for name: String, _ body: (TLSFiles) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("http-client-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let files = TLSFiles(certificate: folder.path + "/cert.pem", key: folder.path + "/key.pem")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=test", "-addext", "subjectAltName=\(name)", "-keyout", files.key, "-out", files.certificate,
    ]
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    try await body(files)
}

/// nginx on a free port of 127.0.0.1, in the folder of its certificate.
private func withNginx(_ files: TLSFiles, _ body: (_ origin: String) async throws -> Void) async throws {
    let probe = try RawServer { _, _ in }
    let port = probe.port
    probe.stop()
    let folder = URL(fileURLWithPath: files.certificate).deletingLastPathComponent().path
    let configuration = """
        daemon off; master_process off; pid \(folder)/pid; error_log \(folder)/error.log;
        events {}
        http {
            access_log off;
            client_body_temp_path \(folder)/a; proxy_temp_path \(folder)/b; fastcgi_temp_path \(folder)/c;
            uwsgi_temp_path \(folder)/d; scgi_temp_path \(folder)/e;
            server {
                listen 127.0.0.1:\(port) ssl http2;
                ssl_certificate \(files.certificate); ssl_certificate_key \(files.key);
                location /slow {
                    limit_rate 1;
                    return 200 "$request_id$request_id";
                }
                location / {
                    add_header X-Protocol $server_protocol;
                    return 200 "$request_method $uri\\n";
                }
            }
        }
        """
    try configuration.write(toFile: folder + "/nginx.conf", atomically: true, encoding: .utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/sbin/nginx")
    process.arguments = ["-p", folder, "-e", "\(folder)/error.log", "-c", "\(folder)/nginx.conf"]
    try process.run()
    defer {
        // It inherits the signal mask of a dispatch thread, in which SIGTERM is blocked.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
    try await eventually("nginx listens") {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = loopback(port: port)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
    try await body("https://127.0.0.1:\(port)")
}
