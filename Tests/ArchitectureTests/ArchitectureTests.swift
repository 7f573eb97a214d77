import Testing

/// What docs/architecture.md promises, checked against the sources; each rule is also shown a breach that it must find.
@Suite struct ArchitectureTests {
    // MARK: Tables

    /// C module -> the one target that imports it.
    static let owners = [
        "CCurl": "HTTPClient",
        "CLibuv": "EventLoops",
        "CLibwebsockets": "Web",
        "COpenSSL": "Crypto",
        "CPocketSphinx": "LocalSpeech",
        "CPostgres": "Postgres",
        "CSpeexDSP": "Audio",
    ]

    static let domainModules: Set = [
        "FoundationEssentials", "DequeModule", "HashTreeCollections", "Synchronization",
    ]

    /// Sources of time, chance and concurrency, which the domain takes as parameters.
    static let impurities = [
        "Date()", "Date.now", "ContinuousClock.now", "ContinuousClock()", "SuspendingClock", "UUID()", ".random(",
        ".randomElement(", ".shuffled(",
        "SystemRandomNumberGenerator", "Task", "TaskGroup", "DispatchQueue", "Thread", "FileManager",
    ]

    /// Functions on the way of an audio message, from the socket to the engine.
    static let audioFunctions = [
        (path: "Sources/Hansard/Sessions/Session.swift", name: "audioArrived"),
        (path: "Sources/Hansard/Sessions/Session.swift", name: "audioAdmitted"),
        (path: "Sources/Hansard/Sessions/Session.swift", name: "engineTook"),
        (path: "Sources/Hansard/Sessions/ChannelTimeline.swift", name: "heard"),
        (path: "Sources/Hansard/Speech/VoiceActivity.swift", name: "heard"),
        (path: "Sources/Hansard/Speech/Endpointer.swift", name: "heard"),
        (path: "Sources/HansardServer/Listen/ListenConnection.swift", name: "receivedBinary"),
        (path: "Sources/HansardServer/Listen/ListenConnection.swift", name: "admit"),
        (path: "Sources/HansardServer/Engines/PocketSphinxEngine.swift", name: "send"),
        (path: "Sources/HansardServer/Engines/SyntheticEngine.swift", name: "send"),
        (path: "Sources/Hansard/Speech/EngineSuccession.swift", name: "audioCame"),
        (path: "Sources/HansardServer/Engines/FallbackEngine.swift", name: "send"),
        (path: "Sources/HansardServer/Engines/FallbackEngine.swift", name: "perform"),
        (path: "Sources/Audio/AudioDecoder.swift", name: "decode"),
        (path: "Sources/LocalSpeech/RecognizerStream.swift", name: "send"),
    ]

    /// Files outside `EventLoops` that own a C handle and are `@unchecked Sendable` for it.
    static let handleOwners: Set<String> = [
        "Sources/HTTPClient/TransferLoop.swift", "Sources/LocalSpeech/DecoderSlot.swift",
    ]

    /// Files and functions (`path name`) that may be longer. Empty, and meant to stay so.
    static let toleratedFiles: Set<String> = []
    static let toleratedFunctions: Set<String> = []

    static let bannedSuffixes = ["Manager", "Helper", "Helpers", "Util", "Utils", "Impl"]

    /// A file that breaks, or keeps, a rule.
    static func planted(_ path: String, _ text: String) -> [SourceFile] { [SourceFile(path, text)] }

    // MARK: Rules

    @Test func theSourcesAreThere() {
        #expect(Package.sources.contains { $0.path == "Sources/Hansard/Sessions/Session.swift" })
        #expect(Package.tests.contains { $0.path == "Tests/ArchitectureTests/ArchitectureTests.swift" })
        #expect(Package.filesOfTargets["CLibuv"] != nil)
    }

    @Test func cModulesAreImportedByTheirOwnersAlone() {
        #expect(Rules.cModules(Package.sources + Package.tests, owners: Self.owners) == [])
        for text in ["import CPostgres", "internal import CPostgres", "@preconcurrency import struct CPostgres.x"] {
            let leak = Self.planted("Sources/HansardServer/Leak.swift", "\n\(text)\n")
            #expect(
                Rules.cModules(leak, owners: Self.owners)
                    == ["Sources/HansardServer/Leak.swift:2: CPostgres belongs to Postgres"]
            )
        }
        let test = Self.planted("Tests/Postgres/Leak.swift", "import CPostgres\n")
        #expect(Rules.cModules(test, owners: Self.owners).count == 1, "tests see no C either")
        let quoted = Self.planted(
            "Sources/Web/A.swift",
            "// import CPostgres\nlet x = \"\"\"\nimport CPostgres\n\"\"\"\n"
        )
        #expect(Rules.cModules(quoted, owners: Self.owners) == [])
    }

    @Test func librariesHaveNeverHeardOfTheProduct() {
        #expect(Rules.librariesWithoutProduct(Package.sources) == [])
        let leak = Self.planted("Sources/Web/Leak.swift", "public import Hansard\n")
        #expect(Rules.librariesWithoutProduct(leak) == ["Sources/Web/Leak.swift:1: a plain library imports Hansard"])
        #expect(Rules.librariesWithoutProduct(Self.planted("Sources/Web/A.swift", "import HansardServer")).count == 1)
    }

    @Test func theDomainImportsNothingButItsFew() {
        #expect(Rules.domainImports(Package.sources, allowed: Self.domainModules) == [])
        for module in ["Foundation", "EventLoops", "Web", "Logging", "Dispatch"] {
            let leak = Self.planted("Sources/Hansard/Leak.swift", "import \(module)\n")
            #expect(
                Rules.domainImports(leak, allowed: Self.domainModules)
                    == ["Sources/Hansard/Leak.swift:1: the domain imports \(module)"]
            )
        }
    }

    @Test func theDomainIsPure() {
        #expect(Rules.domainPurity(Package.sources, banned: Self.impurities) == [])
        let breaches = [
            "let now = Date()", "let now = Date.now", "let now = ContinuousClock.now", "ContinuousClock().now",
            "UUID()", "Int.random(in: 0...1)", "x.shuffled()", "var r = SystemRandomNumberGenerator()", "Task { f() }",
            "Task.detached { f() }", "DispatchQueue.main.async {}", "Thread.sleep(1)",
        ]
        for text in breaches {
            let leak = Self.planted("Sources/Hansard/Leak.swift", "func f() {\n    \(text)\n}\n")
            #expect(Rules.domainPurity(leak, banned: Self.impurities).count == 1, "\(text)")
            #expect(Rules.domainPurity(Self.planted("Sources/Web/A.swift", text), banned: Self.impurities) == [])
        }
        let good = "/// Not Date().\nlet x = Date(timeIntervalSince1970: 1); let Tasks = \"Task { }\"; MyTask()\n"
        #expect(Rules.domainPurity(Self.planted("Sources/Hansard/A.swift", good), banned: Self.impurities) == [])
    }

    @Test func audioFunctionsDoNotSuspend() {
        #expect(Rules.audioFunctions(Package.sources, listed: Self.audioFunctions) == [])
        let path = "Sources/Web/A.swift"
        let text = """
            struct A {
                func calm() { send("await Task") /* await */ }
                func slow(_ x: Int = f({ 1 })) async {
                    await send()
                }
                func loose() { Task { send() } }
            }
            """
        let files = Self.planted(path, text)
        #expect(Rules.audioFunctions(files, listed: [(path, "calm")]) == [])
        #expect(
            Rules.audioFunctions(files, listed: [(path, "slow")]) == ["\(path):3: the audio function slow holds await"]
        )
        #expect(
            Rules.audioFunctions(files, listed: [(path, "loose")]) == ["\(path):6: the audio function loose holds Task"]
        )
        #expect(
            Rules.audioFunctions(files, listed: [(path, "gone")]) == ["\(path): the audio function gone does not exist"]
        )
        #expect(Rules.audioFunctions(files, listed: [("Sources/Web/B.swift", "calm")]).count == 1)
    }

    @Test func filesAreShort() {
        #expect(Rules.fileLength(Package.sources, maximum: 400, tolerated: Self.toleratedFiles) == [])
        let path = "Sources/Web/Long.swift"
        let long = Self.planted(path, String(repeating: "\n", count: 401))
        #expect(Rules.fileLength(long, maximum: 400, tolerated: []) == ["\(path): 401 lines, of at most 400"])
        #expect(Rules.fileLength(long, maximum: 400, tolerated: [path]) == [])
        #expect(
            Rules.fileLength(Self.planted(path, String(repeating: "\n", count: 400)), maximum: 400, tolerated: []) == []
        )
    }

    @Test func functionsAreShort() {
        #expect(Rules.functionLength(Package.sources, maximum: 70, tolerated: Self.toleratedFunctions) == [])
        let path = "Sources/Web/Long.swift"
        let body = String(repeating: "        f { $0 }\n", count: 69)
        for (declaration, name) in [
            ("func long() -> Int", "long"), ("init?(x: Int)", "init"), ("deinit", "deinit"), ("var long: Int", "long"),
            ("static func < (a: A, b: A) -> Bool", "<"), ("subscript(x: Int) -> Int", "subscript"),
        ] {
            let text = "struct A {\n    let a = 1\n    \(declaration) {\n\(body)    }\n    func short() {}\n}\n"
            let expected = ["\(path):3: \(name) has 71 lines, of at most 70"]
            #expect(Rules.functionLength(Self.planted(path, text), maximum: 70, tolerated: []) == expected)
            #expect(Rules.functionLength(Self.planted(path, text), maximum: 71, tolerated: []) == [])
            #expect(Rules.functionLength(Self.planted(path, text), maximum: 70, tolerated: ["\(path) \(name)"]) == [])
        }
    }

    @Test func publicDeclarationsAreDocumented() {
        #expect(Rules.documentation(Package.sources) == [])
        for text in [
            "public struct A {}", "    public private(set) var a = 1", "@discardableResult public func a() {}",
            "static public let a = 1", "public init() {}", "open class A {}", "// Not a doc comment.\npublic let a = 1",
            "/// Too far away.\n\npublic let a = 1",
        ] {
            #expect(Rules.documentation(Self.planted("Sources/Web/A.swift", text)).count == 1, "\(text)")
            let documented = "/// What it is.\n@inlinable\n" + (text.split(separator: "\n").last ?? "")
            #expect(Rules.documentation(Self.planted("Sources/Web/A.swift", documented)) == [])
        }
        let exempt = "public import Hansard\nlet open = 1\nopen = 2\nlet x = \"\"\"\npublic let a = 1\n\"\"\"\n"
        #expect(Rules.documentation(Self.planted("Sources/Web/A.swift", exempt)) == [])
    }

    @Test func typesHaveNamesThatSaySomething() {
        #expect(Rules.typeNames(Package.sources, bannedSuffixes: Self.bannedSuffixes) == [])
        for name in ["SessionManager", "AudioUtils", "Helper", "StoreImpl"] {
            let file = Self.planted("Sources/Web/A.swift", "final class \(name)<A> {}\n")
            #expect(
                Rules.typeNames(file, bannedSuffixes: Self.bannedSuffixes)
                    == ["Sources/Web/A.swift:1: \(name) is a name that says nothing"]
            )
        }
        let good = Self.planted("Sources/Web/A.swift", "struct ManagerOfNothing {}\nlet fileManager = 1\n")
        #expect(Rules.typeNames(good, bannedSuffixes: Self.bannedSuffixes) == [])
    }

    @Test func cTargetsAreAModuleMapAndAShim() {
        #expect(Rules.cTargets(Package.filesOfTargets, modules: Set(Self.owners.keys)) == [])
        let good = ["CX": ["module.modulemap", "shim.h"], "Crypto": ["SHA256.swift"]]
        #expect(Rules.cTargets(good, modules: ["CX"]) == [])
        #expect(Rules.cTargets(good, modules: []) == ["Sources/CX has no owner in the table"])
        #expect(Rules.cTargets(good, modules: ["CX", "CY"]).count == 1)
        #expect(Rules.cTargets(["CX": ["module.modulemap", "shim.h", "x.c"]], modules: ["CX"]).count == 1)
        #expect(Rules.cTargets(["CX": ["module.modulemap"]], modules: ["CX"]).count == 1)
    }

    @Test func uncheckedSendableIsForHandleOwners() {
        #expect(Rules.unchecked(Package.sources, handleOwners: Self.handleOwners) == [])
        let path = "Sources/Postgres/Connection.swift"
        let silent = Self.planted(path, "final class A: @unchecked Sendable {}\n")
        let reasoned = Self.planted(path, "/// `@unchecked Sendable`: it is.\nfinal class A: @unchecked Sendable {}\n")
        #expect(Rules.unchecked(reasoned, handleOwners: []).count == 1)
        #expect(Rules.unchecked(reasoned, handleOwners: [path]) == [])
        #expect(Rules.unchecked(silent, handleOwners: [path]).count == 1)
        #expect(Rules.unchecked([], handleOwners: [path]).count == 1, "a table entry without need")
        let loop = Self.planted(
            "Sources/EventLoops/A.swift",
            "/// `@unchecked Sendable`: x.\nclass A: @unchecked Sendable {}"
        )
        #expect(Rules.unchecked(loop, handleOwners: []) == [])
    }
}

/// The reading of Swift that the rules rest on.
@Suite struct SwiftTextTests {
    @Test(arguments: [
        ("a // b\nc", "a     \nc"), ("a /* b /* c */ d */ e", "a                   e"), ("\"a\\\"b\" c", "\"    \" c"),
        ("\"a\\(f(\")\") + 1)b\" c", "\"               \" c"), ("#\"a\"b\"# c", "#\"   \"# c"),
        ("\"\"\"\na \"b\"\n\"\"\" c", "\"\"\"\n     \n\"\"\" c"), ("\"//\" a", "\"  \" a"), ("a / b", "a / b"),
        ("\"unclosed\na", "\"        \na"),
    ]) func commentsAndStringsAreBlanked(source: String, code: String) {
        #expect(SwiftText.code(of: source) == code)
    }

    @Test func lengthAndLinesStay() {
        for file in Package.sources + Package.tests {
            #expect(file.code.count == file.text.count, "\(file.path)")
            #expect(file.lines.count == file.codeLines.count, "\(file.path)")
        }
    }

    @Test func functionsAreFoundWithTheirBodies() {
        let code = """
            protocol P { func bare(); var x: Int { get } }
            extension A: P {
                func outer(
                    with closure: () -> Int = { 1 }
                ) -> Int {
                    func inner() {}
                    return values.map { $0 }
                }
                let plain = 1
                init() { self.init(x: 1) }
            }
            """
        let found = SwiftFunction.all(in: code)
        #expect(found.map(\.name) == ["x", "inner", "outer", "init"])
        #expect(found.map(\.line) == [1, 6, 3, 10])
        #expect(found.map(\.lineCount) == [1, 1, 6, 1])
        #expect(found[2].body.contains("values.map"))
    }
}
