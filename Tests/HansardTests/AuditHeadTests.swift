import Foundation
import Hansard
import Testing

/// A head's name says all of it, and nothing else is taken for one.
@Suite struct AuditHeadTests {
    private let tenant = TenantID(UUID())

    @Test(arguments: [1, 318, 999_999_999_999, 1_000_000_000_000])
    func aNameIsReadAsItWasWritten(_ place: Int) throws {
        for owner in [nil, tenant] {
            let head = AuditHead(tenant: owner, place: place, hash: (0..<32).map { UInt8($0 * 8) })
            #expect(AuditHead(tenant: owner, name: head.name) == head)
        }
    }

    @Test func namesAreInTheOrderOfPlaces() {
        let names = [1, 9, 10, 99, 100, 12_345].map {
            AuditHead(tenant: nil, place: $0, hash: [UInt8](repeating: UInt8(255 - $0 % 7), count: 32)).name
        }
        #expect(names == names.sorted())
        #expect(names[0] == "000000000001-" + String(repeating: "fe", count: 32) + ".json")
    }

    @Test func foldersAreByChain() {
        #expect(AuditHead.folder(of: nil) == "audit-heads/installation/")
        #expect(AuditHead.folder(of: tenant) == "audit-heads/\(tenant)/")
        let names = ["installation", "\(tenant)", "\(tenant)".uppercased(), "other", ""]
        #expect(AuditHead.chains(ofFolders: names) == [nil, tenant])
    }

    @Test func otherNamesAreNone() {
        let hash = String(repeating: "ab", count: 32)
        for name in [
            "", "x", "1-\(hash).json", "000000000000-\(hash).json", "000000000001-\(hash)", "000000000001-\(hash).txt",
            "000000000001-\(hash)ab.json", "000000000001-\(hash.dropLast()).json", "+00000000001-\(hash).json",
            "000000000001-\(hash.uppercased()).json", "000000000001-\(hash.dropLast(2))+a.json",
            ".000000000001-\(hash).json.part", "000000000001--\(hash).json",
        ] {
            #expect(AuditHead(tenant: nil, name: name) == nil, "\(name)")
        }
    }
}
