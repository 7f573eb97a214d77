import Foundation
import HTTPClient
import Testing

@testable import AWS

/// A case of AWS's own test suite for signatures: a request and what each step makes of it.
struct SigV4Case: Sendable, CustomStringConvertible {
    let name: String
    /// By ending: `req`, `creq`, `sts`, `authz`, `sreq`.
    let files: [String: String]

    var description: String { name }

    static let folder = ProjectFolder.url("../shared/vectors/aws4_testsuite")
    static let endings = ["req", "creq", "sts", "authz", "sreq"]

    /// Every folder with a request in it, at whatever depth.
    static let all: [SigV4Case] = {
        let paths = FileManager.default.enumerator(atPath: folder.path)?.allObjects as? [String] ?? []
        return paths.filter { $0.hasSuffix(".req") }.sorted().map { path in
            let stem = String(path.dropLast(".req".count))
            let files = endings.compactMap { ending in
                (try? String(contentsOf: folder.appending(path: "\(stem).\(ending)"), encoding: .utf8)).map {
                    (ending, $0)
                }
            }
            return SigV4Case(name: stem, files: Dictionary(uniqueKeysWithValues: files))
        }
    }()

    static let whyAbsent: Comment = "needs AWS's suite in ../shared/vectors beside the package"

    /// The request as the file writes it: unencoded, with headers folded over lines.
    static func parse(_ text: String) throws -> TransferRequest {
        let parts = text.split(separator: "\n\n", maxSplits: 1)
        var lines = try #require(parts.first).split(separator: "\n")
        let words = lines.removeFirst().split(separator: " ")
        let target = words.dropFirst().dropLast().joined(separator: " ").split(
            separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var headers: [TransferHeader] = []
        for line in lines {
            if line.hasPrefix(" ") {
                headers[headers.count - 1].value += "\n" + line
            } else {
                let field = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                headers.append(TransferHeader(String(field[0]), String(field[1])))
            }
        }
        return TransferRequest(
            method: String(words[0]), origin: "https://unused.invalid", path: String(target[0]),
            query: target.count > 1 ? String(target[1]) : "", headers: headers,
            body: parts.count > 1 ? Array(parts[1].utf8) : [])
    }
}

@Suite(.enabled(if: FileManager.default.fileExists(atPath: SigV4Case.folder.path), SigV4Case.whyAbsent))
struct SigV4SuiteTests {
    /// 2015-08-30 12:36:00 UTC.
    static let date = Date(timeIntervalSince1970: 1_440_938_160)
    static let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    @Test func everyCaseIsThere() throws {
        #expect(SigV4Case.all.count == 34)
        for item in SigV4Case.all { #expect(item.files.count == SigV4Case.endings.count, "\(item)") }
        // No folder without a case is overlooked either: only those that hold folders have no request.
        let paths = try #require(FileManager.default.enumerator(atPath: SigV4Case.folder.path)?.allObjects as? [String])
        let folders = paths.filter { path in
            var isFolder: ObjCBool = false
            let url = SigV4Case.folder.appending(path: path)
            return FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) && isFolder.boolValue
        }
        let parents = folders.filter { folder in folders.contains { $0.hasPrefix(folder + "/") } }
        #expect(folders.count - parents.count == SigV4Case.all.count)
    }

    @Test(arguments: SigV4Case.all)
    func eachStepIsAsPublished(item: SigV4Case) throws {
        let request = try SigV4Case.parse(try #require(item.files["req"]))
        let expected = try SigV4Case.parse(try #require(item.files["sreq"]))
        // A token is in the signed request alone where the signer is the one who adds it.
        let token = request.header("X-Amz-Security-Token") == nil ? expected.header("X-Amz-Security-Token") : nil
        var signer = SigV4(
            credentials: AWSCredentials(accessKeyID: "AKIDEXAMPLE", secretAccessKey: Self.secret, sessionToken: token),
            region: "us-east-1", service: "service", date: Self.date)
        signer.signsSessionToken = !item.name.hasSuffix("-after")

        let signed = signer.sign(request)
        #expect(signed.header("Authorization") == item.files["authz"])
        #expect((signed.method, signed.path, signed.query) == (request.method, request.path, request.query))
        #expect(signed.body == request.body)
        // The signature within get-vanilla-with-session-token.sreq is not the one of its .authz.
        #expect(Self.withoutAuthorization(signed.headers) == Self.withoutAuthorization(expected.headers))

        var unsigned = signed
        unsigned.headers.removeAll { $0.name == "Authorization" }
        if !signer.signsSessionToken { unsigned.headers.removeAll { $0.name == "X-Amz-Security-Token" } }
        let hash = String(try #require(item.files["creq"]).suffix(64))
        let canonical = CanonicalRequest(unsigned, pathRule: signer.pathRule).bytes(payloadHash: hash)
        #expect(String(decoding: canonical, as: UTF8.self) == item.files["creq"])
        #expect(signer.stringToSign(canonical, at: SigningTime(Self.date)) == item.files["sts"])
    }

    private static func withoutAuthorization(_ headers: [TransferHeader]) -> [String] {
        headers.filter { $0.name != "Authorization" }.map { "\($0.name):\($0.value)" }.sorted()
    }
}
