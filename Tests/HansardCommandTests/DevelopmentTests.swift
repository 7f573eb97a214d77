import Foundation
import Testing

@testable import HansardCommand

/// A folder that is gone when the test is over.
final class TemporaryFolder {
    let path = FileManager.default.temporaryDirectory.appending(path: "hansard-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}

private func mode(_ path: String) throws -> Int {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    return try #require(attributes[.posixPermissions] as? Int)
}

struct DevelopmentTests {
    let whole = DevEnvironmentFile(url: "http://127.0.0.1:8080", apiKey: "hsk_test_a", adminToken: "hsa_b")

    @Test func environmentFileIsReadAsItIsWritten() {
        #expect(DevEnvironmentFile(text: whole.text) == whole)
        #expect(DevEnvironmentFile(text: "") == DevEnvironmentFile())
        let part = DevEnvironmentFile(apiKey: "hsk_test_a")
        #expect(DevEnvironmentFile(text: part.text) == part)
    }

    @Test func environmentFileMayBeEdited() {
        let text = """
            # HANSARD_URL=http://old
              HANSARD_URL='http://127.0.0.1:8080'
            export HANSARD_API_KEY="hsk_test_a"\r
            OTHER=x
            export HANSARD_ADMIN_TOKEN = spaced
            HANSARD_ADMIN_TOKEN=
            nonsense
            """
        #expect(
            DevEnvironmentFile(text: text) == DevEnvironmentFile(url: "http://127.0.0.1:8080", apiKey: "hsk_test_a")
        )
    }

    @Test func environmentFileCanBeSourced() throws {
        let folder = try TemporaryFolder()
        let directory = try StateDirectory(path: folder.path + "/state")
        try directory.write(whole)
        let shell = Process()
        shell.executableURL = URL(filePath: "/bin/sh")
        shell.arguments = ["-c", ". \"$0\"; env", "\(directory.path)/dev.env"]
        let output = Pipe()
        shell.standardOutput = output
        try shell.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        shell.waitUntilExit()
        for line in ["HANSARD_URL=http://127.0.0.1:8080", "HANSARD_API_KEY=hsk_test_a", "HANSARD_ADMIN_TOKEN=hsa_b"] {
            #expect(text.split(separator: "\n").contains { $0 == line })
        }
    }

    @Test func secretsAreForTheirOwnerAlone() throws {
        let folder = try TemporaryFolder()
        let directory = try StateDirectory(path: folder.path + "/a/b/state")
        try directory.write(whole)
        #expect(try directory.secret { "made" } == "made")
        #expect(try directory.secret { "made again" } == "made")
        #expect(directory.environment() == whole)
        #expect(try mode(directory.path) == (geteuid() == 0 ? 0o711 : 0o700))
        for name in ["dev.env", "secret", "dev.lock"] { #expect(try mode("\(directory.path)/\(name)") == 0o600) }
        try directory.write(DevEnvironmentFile(url: "http://other"))
        #expect(directory.environment() == DevEnvironmentFile(url: "http://other"))
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(Set(names) == ["dev.env", "secret", "dev.lock"])
    }

    @Test func aStateDirectoryHasOneOwner() throws {
        let folder = try TemporaryFolder()
        var first: StateDirectory? = try StateDirectory(path: folder.path + "/state")
        #expect(first?.environment() == nil)
        do {
            _ = try StateDirectory(path: folder.path + "/state")
            Issue.record("the second owner was let in")
        } catch let failure as CommandFailure {
            #expect(
                failure.message.hasPrefix("another `hansard dev` (process \(getpid())) uses \(folder.path)/state; ")
            )
            #expect(failure.status == .failed)
        }
        first = nil
        _ = try StateDirectory(path: folder.path + "/state")
    }

    @Test func aFileInTheWayIsExplained() throws {
        let folder = try TemporaryFolder()
        try Data().write(to: URL(filePath: folder.path + "/file"))
        #expect(throws: CommandFailure.self) { try StateDirectory(path: folder.path + "/file/state") }
        #expect(throws: CommandFailure.self) { try StateDirectory(path: folder.path + "/file") }
    }

    @Test func theGuideShowsNoSecret() {
        let text = DevGuide(
            url: "http://127.0.0.1:8080",
            environmentFile: ".hansard/dev.env",
            made: ["a key"],
            program: "hansard"
        )
        .text
        #expect(text.contains("Hansard is ready at http://127.0.0.1:8080\nMade: a key.\n"))
        #expect(text.contains(". .hansard/dev.env\n"))
        #expect(!text.contains("hsk_") && !text.contains("hsa_"))
    }
}
