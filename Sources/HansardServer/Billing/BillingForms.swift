import Crypto
import FoundationEssentials
import Hansard
import Postgres
import Web

/// The form in which invoices are answered.
enum BillingForm: String, CaseIterable {
    /// As they are stored.
    case json
    /// A row for each line.
    case csv
    /// The open cost and usage format of the FinOps foundation (https://focus.finops.org), as CSV.
    case focus
    /// A page to print.
    case html
}

/// An invoice, made or as it would be, with what people read beside it.
struct BilledTenant: Sendable {
    var invoice: Invoice
    /// Its canonical JSON.
    var document: String
    /// nil of a tenant that was deleted.
    var name: String?

    init(_ invoice: Invoice, document: String? = nil, name: String?) throws {
        self.invoice = invoice
        self.document = try document ?? invoice.document()
        self.name = name
    }
}

/// Who sends invoices, and to whom they are shown.
struct BillingReader: Sendable {
    /// What stands on invoices as who made them out.
    var issuer: String
    /// Whether it is the tenant itself, which reads its sessions at another place.
    var isTenant = false

    /// Where the reader has the sessions of a line: also where the line's own text, which never changes, has what an earlier
    /// release wrote there.
    func sessionsURL(_ line: InvoiceLine, of invoice: Invoice) -> String? {
        let invoices = isTenant ? TenantInvoiceRoutes.path : "\(TenantsResource.path)/\(invoice.tenant)/invoices"
        return line.subject.usage.map { _ in
            "\(invoices)/\(invoice.period)/lines/\(line.period)/\(line.subject.name)/sessions"
        }
    }
}

extension HTTPResponse {
    /// An invoice in one of its forms, with the hash of its bytes (RFC 9530), and up to when usage is known where the form has no
    /// place for it.
    static func invoice(_ billed: BilledTenant, as form: BillingForm, for reader: BillingReader) -> HTTPResponse {
        var response =
            switch form {
            case .json: HTTPResponse(status: 200, headers: HTTPHeaders(json: []), body: Array(billed.document.utf8))
            case .csv, .focus: billingTable([billed], as: form, for: reader)
            case .html: InvoicePage(reader: reader).response(billed)
            }
        let digest = Data(SHA256.hash(response.body)).base64EncodedString()
        response.headers.add("Repr-Digest", "sha-256=:\(digest):")
        return form == .json ? response : response.known(upTo: billed.invoice.dataAsOf)
    }

    /// Invoices in one table.
    static func billingTable(_ billed: [BilledTenant], as form: BillingForm, for reader: BillingReader) -> HTTPResponse
    {
        var text = CSVText()
        if form == .focus {
            FocusTable(reader: reader).write(billed, into: &text)
        } else {
            InvoiceTable(reader: reader).write(billed, into: &text)
        }
        return HTTPResponse(
            status: 200, headers: ["Content-Type": "text/csv; charset=utf-8"], body: text.bytes)
    }
}

extension Connection {
    /// The invoice of a month that is made; nil if there is none.
    func billedTenant(_ tenant: TenantID, for period: QuotaPeriod) throws -> BilledTenant? {
        guard
            let row = try query(
                "SELECT document FROM invoices WHERE tenant_id = \(tenant.rawValue) AND period = \(period.description)"
            ).first
        else { return nil }
        let document: String = try row.value("document")
        return try BilledTenant(Invoice(document: document), document: document, name: tenantName(tenant))
    }

    /// What a tenant is called now; nil of one that was deleted.
    func tenantName(_ tenant: TenantID) throws -> String? {
        try query("SELECT name FROM tenants WHERE tenant_id = \(tenant.rawValue) AND status <> 'deleted'")
            .first?.value("name")
    }
}

extension InvoiceLine {
    /// What it is for, for people.
    var title: String {
        let title =
            switch subject {
            case .charge: "Transcription"
            case .unpriced: "Transcription without a price"
            case .commitment: "Commitment"
            case .credit: amount.minor < 0 ? "Credit" : "Charge"
            }
        let details = [engine, language, reason].compactMap { $0 }
        let what = details.isEmpty ? title : "\(title): \(details.joined(separator: ", "))"
        return kind == .adjustment ? "\(what); correction of \(period)" : what
    }
}
