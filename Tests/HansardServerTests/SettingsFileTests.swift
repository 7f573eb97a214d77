import Foundation
import Testing

@testable import HansardServer

struct SettingsFileTests {
    func problems(_ yaml: String) -> [String] {
        SettingsFile(path: "h.yaml", yaml: yaml).problems.map(\.description)
    }

    @Test func valuesAreReadAsTheyAreWritten() {
        let file = SettingsFile(path: "h.yaml", yaml: "node: 0x10\nregion: yes\nidle_timeout: '10s'\nengine_slots: 3\n")
        #expect(file.problems.isEmpty)
        #expect(file.entries["node"] == .init(text: "0x10", line: 1))
        #expect(file.entries["region"] == .init(text: "yes", line: 2))
        #expect(file.entries["idle_timeout"] == .init(text: "10s", line: 3))
        #expect(file.entries["engine_slots"] == .init(text: "3", line: 4))
    }

    @Test func listsBecomeCommas() {
        let file = SettingsFile(path: "h.yaml", yaml: "trusted_proxies:\n  - 10.0.0.0/8\n  - 192.0.2.7\n")
        #expect(file.entries["trusted_proxies"]?.text == "10.0.0.0/8,192.0.2.7")
    }

    @Test(arguments: ["", "# nothing yet\n", "---\n", "~\n", "listen:\n", "listen: ~\n"])
    func emptyIsNotGiven(yaml: String) throws {
        let file = SettingsFile(path: "h.yaml", yaml: yaml)
        #expect(file.problems.isEmpty)
        let settings = try Settings.load(environment: [:], file: file, for: .development).settings
        #expect(settings.listen == Settings().listen)
    }

    @Test func whatIsNotASettingNamesTheNearest() {
        #expect(problems("lisen: x") == [#"h.yaml:1: "lisen" is not a setting; did you mean `listen`?"#])
        #expect(
            problems("HANSARD_LISTEN: x") == [#"h.yaml:1: "HANSARD_LISTEN" is not a setting; did you mean `listen`?"#]
        )
        #expect(problems("\nzebra_crossing: x") == [#"h.yaml:2: "zebra_crossing" is not a setting"#])
        #expect(problems("? [a, b]\n: x") == [#"h.yaml:1: "" is not a setting"#])
    }

    @Test func nestedValuesAreRefused() {
        #expect(problems("node: {a: b}") == ["h.yaml:1: node: expected a single value or a list of them"])
        #expect(problems("node: [[a]]") == ["h.yaml:1: node: expected a single value or a list of them"])
    }

    @Test(arguments: [
        ("- a\n- b\n", "h.yaml: expected a mapping of settings"), ("just words\n", "h.yaml: expected a mapping"),
        ("listen: \"a\nnode: hunter2\n", "is not YAML"), ("listen: a\n  node: hunter2\n", "h.yaml:2: is not YAML"),
        ("listen: a\nlisten: hunter2\n", "the same setting is given twice"),
    ])
    func brokenFilesAreExplainedWithoutTheirContents(yaml: String, explanation: String) {
        let found = problems(yaml)
        #expect(found.count == 1)
        #expect(found.first?.contains(explanation) == true, "\(found)")
        #expect(found.first?.contains("hunter2") == false)
    }

    @Test func filesThatCannotBeReadAreNamed() throws {
        #expect(
            SettingsFile(path: "/nowhere/h.yaml").problems.map(\.description) == ["/nowhere/h.yaml: cannot be read"]
        )
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "h.yaml").path
        try Data([0x6c, 0xff, 0xfe]).write(to: URL(filePath: path))
        #expect(SettingsFile(path: path).problems.first?.message.hasPrefix("expected YAML in UTF-8") == true)
        try Data("node: n1\n".utf8).write(to: URL(filePath: path))
        #expect(SettingsFile(path: path).entries["node"]?.text == "n1")
    }
}
