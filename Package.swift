// swift-tools-version: 6.2
import PackageDescription

// Every target is checked the same way; docs/architecture.md says why.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "hansard",
    products: [
        .executable(name: "hansard", targets: ["HansardCommand"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C libraries: a module map and a shim, nothing else.
        .systemLibrary(name: "CLibuv", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(
            name: "CLibwebsockets", pkgConfig: "libwebsockets",
            providers: [.apt(["libwebsockets-dev", "libwebsockets-evlib-uv"])]),
        .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CPocketSphinx", pkgConfig: "pocketsphinx",
            providers: [.apt(["libpocketsphinx-dev", "pocketsphinx-en-us"])]),
        .systemLibrary(
            name: "CSpeexDSP", pkgConfig: "speexdsp", providers: [.apt(["libspeexdsp-dev"])]),

        // Libraries: each owns at most one C library and has never heard of a tenant.
        .target(name: "EventLoops", dependencies: ["CLibuv"], swiftSettings: strict),
        .target(
            name: "Web",
            dependencies: [
                "CLibwebsockets", "EventLoops",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(name: "HTTPClient", dependencies: ["CCurl", "EventLoops"], swiftSettings: strict),
        .target(name: "Postgres", dependencies: ["CPostgres", "EventLoops"], swiftSettings: strict),
        .target(name: "Crypto", dependencies: ["COpenSSL"], swiftSettings: strict),
        .target(name: "AWS", dependencies: ["HTTPClient", "Crypto", "EventLoops"], swiftSettings: strict),
        .target(name: "Audio", dependencies: ["CSpeexDSP"], swiftSettings: strict),
        .target(
            name: "LocalSpeech", dependencies: ["CPocketSphinx", "EventLoops", "Audio"],
            swiftSettings: strict),

        // The domain: imports none of the above.
        .target(
            name: "Hansard",
            dependencies: [
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HashTreeCollections", package: "swift-collections"),
            ],
            swiftSettings: strict + [.strictMemorySafety()]),

        // The product: where both sides meet, and the command line.
        .target(
            name: "HansardServer",
            dependencies: [
                "Hansard", "EventLoops", "Web", "HTTPClient", "Postgres", "Crypto", "AWS", "Audio", "LocalSpeech",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "HansardCommand",
            dependencies: [
                "Hansard", "HansardServer", "EventLoops", "Web", "HTTPClient", "Postgres", "Crypto", "AWS",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        .testTarget(name: "EventLoopsTests", dependencies: ["EventLoops"], swiftSettings: strict),
        .testTarget(name: "WebTests", dependencies: ["Web", "EventLoops"], swiftSettings: strict),
        // One private Postgres for all tests of a run.
        .target(
            name: "PostgresTesting", dependencies: ["Postgres", "EventLoops"], path: "Tests/PostgresTesting",
            swiftSettings: strict),
        .testTarget(
            name: "PostgresTests", dependencies: ["Postgres", "PostgresTesting", "EventLoops"], swiftSettings: strict),
        .testTarget(
            name: "HTTPClientTests", dependencies: ["HTTPClient", "Web", "EventLoops"], swiftSettings: strict),
        .testTarget(
            name: "AWSTests", dependencies: ["AWS", "HTTPClient", "Crypto", "EventLoops"], swiftSettings: strict),
        .testTarget(name: "CryptoTests", dependencies: ["Crypto"], swiftSettings: strict),
        .testTarget(name: "AudioTests", dependencies: ["Audio"], swiftSettings: strict),
        .testTarget(
            name: "LocalSpeechTests", dependencies: ["LocalSpeech", "EventLoops"], swiftSettings: strict),
        .testTarget(name: "HansardTests", dependencies: ["Hansard"], swiftSettings: strict),
        .testTarget(
            name: "HansardServerTests",
            dependencies: [
                "HansardServer", "Hansard", "EventLoops", "Web", "Postgres", "PostgresTesting", "Crypto",
                "HTTPClient", "AWS",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "HansardCommandTests",
            dependencies: ["HansardCommand", "HansardServer", "Hansard", "EventLoops", "Web"], swiftSettings: strict),
        .testTarget(name: "ArchitectureTests", swiftSettings: strict),
    ]
)
