import Foundation
import Testing
import Web

/// Certificates that sign themselves, made by the openssl command.
enum TestCertificate {
    /// Makes one in a folder that `body` may use, and takes the folder away again.
    ///
    /// - Parameters:
    ///   - name: as `subjectAltName` has it.
    ///   - hasExpired: whether it was good in the past alone.
    static func with(
        name: String = "IP:127.0.0.1", hasExpired: Bool = false, _ body: (TLSFiles) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("web-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let files = TLSFiles(certificate: folder.path + "/cert.pem", key: folder.path + "/key.pem")
        let key = [
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", files.key, "-subj",
            "/CN=test",
        ]
        let output: String
        if hasExpired {
            output = try expired(name: name, key: key, files, folder: folder)
        } else {
            output = try openssl(
                ["req", "-x509", "-days", "2", "-addext", "subjectAltName=\(name)", "-out", files.certificate] + key)
        }
        #expect(FileManager.default.fileExists(atPath: files.certificate), "\(output)")
        try await body(files)
    }

    /// `req` makes none that begin in the past; `ca` does, with a database of its own.
    private static func expired(name: String, key: [String], _ files: TLSFiles, folder: URL) throws -> String {
        let settings = """
            [ca]
            default_ca = own
            [own]
            database = \(folder.path)/index
            new_certs_dir = \(folder.path)
            rand_serial = yes
            default_md = sha256
            policy = any
            x509_extensions = extensions
            unique_subject = no
            [any]
            commonName = supplied
            [extensions]
            basicConstraints = critical, CA:true
            subjectAltName = \(name)

            """
        try settings.write(to: folder.appendingPathComponent("ca.conf"), atomically: true, encoding: .utf8)
        try "".write(to: folder.appendingPathComponent("index"), atomically: true, encoding: .utf8)
        let request = folder.path + "/request.pem"
        return try openssl(["req", "-new", "-out", request] + key)
            + openssl([
                "ca", "-batch", "-selfsign", "-notext", "-config", folder.path + "/ca.conf", "-keyfile", files.key,
                "-in", request, "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-out",
                files.certificate,
            ])
    }

    /// Runs the command; answers what it said.
    @discardableResult
    static func openssl(_ arguments: [String], input: String = "") throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        let (inputPipe, outputPipe) = (Pipe(), Pipe())
        process.standardInput = inputPipe
        process.standardOutput = outputPipe
        process.standardError = outputPipe
        try process.run()
        inputPipe.fileHandleForWriting.write(Data(input.utf8))
        try inputPipe.fileHandleForWriting.close()
        let output = outputPipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self)
    }
}
