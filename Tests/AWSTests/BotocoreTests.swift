import AWS
import Foundation
import HTTPClient
import Testing

/// Python with botocore, as `make venv` installs it.
private enum Botocore {
    static let python = ProjectFolder.url(".venvs/tests/bin/python")
    static let script = ProjectFolder.url("Tests/StandIns/botocore_signatures.py")
    /// Without it the comparison is left out, but not where the CI runs: there it fails.
    static let isNeeded =
        FileManager.default.isExecutableFile(atPath: python.path) || ProcessInfo.processInfo.environment["CI"] != nil

    /// Everything that the script writes.
    static func output(seed: Int, count: Int) throws -> Data {
        let process = Process()
        process.executableURL = python
        process.arguments = [script.path, String(seed), String(count)]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return data
    }
}

/// A request and what botocore made of it.
private struct SignedByBotocore: Decodable {
    var method: String
    var origin: String
    var path: String
    var query: String
    var headers: [[String]]
    var body: String
    var service: String
    var region: String
    var key: String
    var secret: String
    var token: String?
    var date: Double
    var lifetime: Int?
    var unsigned: Bool
    var expected: String

    var request: TransferRequest {
        TransferRequest(
            method: method, origin: origin, path: path, query: query,
            headers: headers.map { TransferHeader($0[0], $0[1]) },
            body: stride(from: 0, to: body.utf8.count, by: 2).map { index in
                UInt8(body.dropFirst(index).prefix(2), radix: 16) ?? 0
            })
    }

    func signer(_ keys: SigningKeys?) -> SigV4 {
        SigV4(
            credentials: AWSCredentials(accessKeyID: key, secretAccessKey: secret, sessionToken: token),
            region: region, service: service, date: Date(timeIntervalSince1970: date), keys: keys)
    }
}

@Suite struct BotocoreTests {
    @Test(.enabled(if: Botocore.isNeeded, "needs .venvs/tests, which `make venv` makes"), .timeLimit(.minutes(10)))
    func tenThousandRandomRequestsAreSignedAlike() throws {
        let count = 10_000
        let seed = ProcessInfo.processInfo.environment["SIGV4_SEED"].flatMap { Int($0) } ?? 20_150_830
        let output = try Botocore.output(seed: seed, count: count)
        let decoder = JSONDecoder()
        let keys = SigningKeys()
        var compared = 0
        var differing: [String] = []
        for line in output.split(separator: UInt8(ascii: "\n")) {
            let item = try decoder.decode(SignedByBotocore.self, from: line)
            let signer = item.signer(keys)
            let signature: String?
            let expected: String
            if let lifetime = item.lifetime {
                // botocore spells the request's own parameters anew; what it adds must be the same to the letter.
                signature = Self.added(signer.presign(item.request, expiringAfter: .seconds(lifetime)).query)
                expected = try #require(Self.added(item.expected))
            } else {
                let signed = signer.sign(item.request, payload: item.unsigned ? .unsigned : .computed)
                signature = signed.header("Authorization")
                expected = item.expected
            }
            compared += 1
            if signature != expected { differing.append(String(decoding: line, as: UTF8.self)) }
        }
        #expect(compared == count)
        #expect(differing.isEmpty, "\(differing.count) with seed \(seed), the first: \(differing.first ?? "")")
    }

    private static func added(_ query: String) -> String? {
        query.range(of: "X-Amz-Algorithm=").map { String(query[$0.lowerBound...]) }
    }
}
