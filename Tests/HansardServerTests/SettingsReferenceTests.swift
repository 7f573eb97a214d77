import Foundation
import Testing

@testable import HansardServer

struct SettingsReferenceTests {
    @Test func helpTellsEverySetting() {
        let lines = SettingsReference.help.split(separator: "\n").map(String.init)
        for setting in Setting.all {
            let index = lines.firstIndex { $0.hasPrefix("\(setting.name)  (\(setting.unit); default: ") }
            #expect(index != nil, "\(setting.name) is missing")
            if let index { #expect(lines[index + 1] == "    \(setting.meaning)") }
        }
        #expect(lines.filter { $0.hasPrefix("HANSARD_") }.count == Setting.all.count)
    }

    @Test func documentIsWhatTheTableSays() throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized
        let document = try String(contentsOf: root.appending(path: "docs/settings.md"), encoding: .utf8)
        #expect(document == SettingsReference.markdown, "run: hansard settings-reference > docs/settings.md")
    }

    @Test func defaultsAreShownInTheFormThatIsRead() {
        var settings = Settings()
        let words = [
            "required", "one per core", "the host's name", "HANSARD_", "AWS_REGION", "found beside", "transcripts in",
            "what the",
            "none",
        ]
        for setting in Setting.all where !words.contains(where: { setting.defaultText.hasPrefix($0) }) {
            #expect(setting.apply(setting.defaultText, &settings), "\(setting.name): \(setting.defaultText)")
        }
    }

    @Test func filesAreFoundBesideTheProgram() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        let binaries = folder.appending(path: ".build/x86_64-unknown-linux-gnu/debug")
        try FileManager.default.createDirectory(at: binaries, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let executable = binaries.appending(path: "hansard").path
        #expect(InstalledFiles.path(of: "Migrations", executable: executable) == "/usr/share/hansard/Migrations")
        let migrations = folder.appending(path: "Migrations")
        try FileManager.default.createDirectory(at: migrations, withIntermediateDirectories: true)
        #expect(InstalledFiles.path(of: "Migrations", executable: executable) == migrations.path)
    }
}
