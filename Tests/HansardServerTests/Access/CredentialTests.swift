import Hansard
import Testing

@testable import HansardServer

/// Section 1 of the listen protocol: the forms in which a credential may come.
@Suite struct CredentialTests {
    private func read(
        _ authorization: String?, _ subprotocols: String? = nil
    ) throws(HansardError) -> Authenticator.Credential {
        try Authenticator.Credential(authorization: authorization, subprotocols: subprotocols)
    }

    @Test(arguments: [
        "Token abc", "token abc", "TOKEN abc", "Bearer abc", "bearer abc", "bEaReR abc", "Token   abc", " Token abc ",
    ])
    func theHeadersSchemeIsReadInAnyCase(_ header: String) throws {
        let credential = try read(header)
        #expect(credential.secret == "abc")
        #expect(credential.subprotocol == nil)
    }

    @Test(arguments: [
        ("token, abc", "token"), ("token,abc", "token"), ("bearer, abc", "bearer"), ("Token ,  abc ", "Token"),
    ])
    func browsersSendSubprotocols(_ header: String, _ echoed: String) throws {
        let credential = try read(nil, header)
        #expect(credential.secret == "abc")
        #expect(credential.subprotocol == echoed, "the first item goes back as it came")
    }

    @Test func theHeaderComesFirst() throws {
        let credential = try read("Token a", "token, b")
        #expect(credential.secret == "a")
        #expect(credential.subprotocol == nil)
        #expect(throws: HansardError.self) { try read("Basic a", "token, b") }
    }

    @Test(arguments: [
        "", "Token", "Bearer ", "abc", "Basic abc", "Token a b", "Tokenabc", "Digest username=\"x\"",
    ])
    func anotherHeaderIsRefusedWithWhatToSend(_ header: String) {
        let error = #expect(throws: HansardError.self) { try read(header) }
        #expect(error?.code == .unauthenticated)
        #expect(error?.message.contains("Authorization: Token <API key>") == true)
    }

    @Test(arguments: ["", "token", "token,", ",", "abc", "token, a, b", "graphql-ws, abc", "abc, token"])
    func otherSubprotocolsAreRefused(_ header: String) {
        #expect(throws: HansardError.self) { try read(nil, header) }
    }

    @Test func nothingAtAllIsRefusedWithWhatToSend() {
        let error = #expect(throws: HansardError.self) { try read(nil) }
        #expect(error?.code == .unauthenticated)
        #expect(error?.message.contains("Authorization: Token <API key>") == true)
    }
}
