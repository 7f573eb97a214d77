"""Invoices and reports as tables and pages: the amounts are those of the JSON, and what others wrote stays text."""

import csv
import io
import subprocess
import threading
from decimal import Decimal
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contract import operation
from database import Database
from ledger import ingest, speak, utc
from operators import Operator
from places import PROJECT

AUGUST, SEPTEMBER = "2026-08", "2026-09"
PERIODS, TENANTS = "/v1/admin/periods", "/v1/admin/tenants"
SCRIPT = "<script>document.title='run'</script>"
FORMULA = '=HYPERLINK("http://example.net","x")'
FOCUS = PROJECT / ".venvs/focus"
# What the validator calls otherwise than the specification of FOCUS 1.0, and one that it asks for and the specification does not have.
VALIDATORS_NAMES = {
    "InvoiceIssuer": "InvoiceIssuerName", "Provider": "ProviderName", "Publisher": "PublisherName", "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}  # fmt: skip

CHARGES = [
    {
        "engine": "synthetic", "included_minutes": 2,
        "tiers": [{"up_to": 3, "unit_price": "0.333"}, {"up_to": 10, "unit_price": "0.1111"}, {"unit_price": "0.07"}],
    },
    {"engine": "deepgram", "unit": "hour", "mode": "volume", "tiers": [{"up_to": 1, "unit_price": "0.37"}, {"unit_price": "0.3"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def billed():
    """A server with two tenants and a month that is closed, another with late usage and credits that is not."""
    from server import Server

    server = Server(HANSARD_ENGINE="synthetic", HANSARD_INVOICE_ISSUER="Müller & Söhne").start()
    try:
        owner, database = Operator.owner(server), Database.of(server)
        tenants = [owner.tenant(name=SCRIPT), owner.tenant(name=FORMULA)]
        plan = owner.plan(charges=CHARGES, increment_ms=1_000, minimum_ms=15_000, commitment="9.99")
        for number, tenant in enumerate(tenants):
            owner.assigned(tenant, AUGUST, plan_id=plan)
            for place, (engine, minutes) in enumerate([("synthetic", 37), ("deepgram", 7), ("pocketsphinx", 3)]):
                ingest(database, speak(tenant, 10 * number + place, utc(2026, 8, 3, place), minutes, engine=engine))
            credit = {"amount": "-1.25", "period": AUGUST, "reason": "an outage of <b>ours</b>"}
            assert owner.call("POST", f"{TENANTS}/{tenant}/credits", credit).status_code == 201
        assert owner.call("POST", f"{PERIODS}/{AUGUST}/close").status_code == 200
        for number, tenant in enumerate(tenants):
            ingest(database, speak(tenant, 100 + number, utc(2026, 8, 30), 11, engine="deepgram"))
            ingest(database, speak(tenant, 200 + number, utc(2026, 9, 3), 5))
        yield server, owner, tenants
    finally:
        server.stop()


class Page(HTMLParser):
    """A page's elements and its tables' cells."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        # What comes now is in none of the cells before.
        if tag == "table":
            self.cells.append("")

    def handle_data(self, data):
        self.text += data
        if self.cells:
            self.cells[-1] += data.strip()


def forms(owner: Operator, path: str, name: str) -> dict:
    answers = {form: owner.call("GET", f"{path}?format={form}") for form in ("json", "csv", "focus", "html")}
    for form, answer in answers.items():
        assert answer.status_code == 200, answer.text
        assert ("Data-As-Of" in answer.headers) == (form != "json")
    operation(name).check(answers["json"])
    return answers


def table(answer) -> list[dict]:
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def check(answers: dict, invoices: list[dict], names: dict[str, str]) -> None:
    """All four forms say the same."""
    lines = [line for invoice in invoices for line in invoice["lines"]]
    rows = table(answers["csv"])
    assert [row["amount"] for row in rows] == [line["amount"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert (row["raw_ms"], row["billed_ms"], row["amount_precise"]) == (
            str(line["raw_ms"]), str(line["billed_ms"]), line["amount_precise"])  # fmt: skip
    for invoice in invoices:
        shown = {row["tenant_name"] for row in rows if row["tenant_id"] == invoice["tenant_id"]}
        name = names[invoice["tenant_id"]]
        assert shown == {f"'{name}" if name.startswith("=") else name}
        for form, column in (("csv", "amount"), ("focus", "BilledCost")):
            account = "tenant_id" if form == "csv" else "BillingAccountId"
            amounts = [Decimal(row[column]) for row in table(answers[form]) if row[account] == invoice["tenant_id"]]
            assert sum(amounts) == Decimal(invoice["total"])
    page = Page(answers["html"].text)
    for line in lines:
        assert line["amount"] in page.cells and all(tier["amount_precise"] in page.cells for tier in line["tiers"])
    for invoice in invoices:
        assert invoice["total"] in page.cells and names[invoice["tenant_id"]] in page.text
    assert not {"script", "img", "iframe", "object", "form", "b"} & set(page.elements)
    policy = answers["html"].headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_forms_of_an_invoice_say_the_same(billed):
    _, owner, tenants = billed
    for tenant, name in zip(tenants, (SCRIPT, FORMULA), strict=True):
        for path, operation_name in ((AUGUST, "getTenantInvoice"), (f"{SEPTEMBER}/preview", "previewTenantInvoice")):
            answers = forms(owner, f"{TENANTS}/{tenant}/invoices/{path}", operation_name)
            check(answers, [answers["json"].json()], {tenant: name})
            for link in Page(answers["html"].text).links:
                assert owner.call("GET", link).status_code == 200


def test_a_report_is_of_all_tenants(billed):
    _, owner, tenants = billed
    names = dict(zip(tenants, (SCRIPT, FORMULA), strict=True))
    for period, state in ((AUGUST, "closed"), (SEPTEMBER, "open")):
        path = f"{PERIODS}/{period}/report"
        answers = forms(owner, path, "getBillingReport")
        report = answers["json"].json()
        assert (report["state"], report["has_more"]) == (state, False)
        assert [invoice["tenant_id"] for invoice in report["data"]] == sorted(tenants)
        check(answers, report["data"], names)
        first = owner.call("GET", f"{path}?limit=1").json()
        rest = owner.call("GET", f"{path}?limit=1&after={first['next_cursor']}").json()
        assert [one["tenant_id"] for one in first["data"] + rest["data"]] == sorted(tenants) and not rest["has_more"]
    (made,) = [one for one in owner.call("GET", f"{PERIODS}/{AUGUST}/report").json()["data"] if one["tenant_id"] == tenants[0]]
    assert made == owner.call("GET", f"{TENANTS}/{tenants[0]}/invoices/{AUGUST}").json()


def test_a_report_is_within_the_reach_of_a_token(billed):
    _, owner, tenants = billed
    limited = owner.with_role("viewer", tenants=tenants[:1])
    for form in ("json", "csv", "focus", "html"):
        answer = limited.call("GET", f"{PERIODS}/{AUGUST}/report?format={form}")
        assert answer.status_code == 200 and tenants[0] in answer.text and tenants[1] not in answer.text
    assert limited.call("GET", f"{TENANTS}/{tenants[1]}/invoices/{AUGUST}?format=html").status_code == 404


def test_tenants_read_their_own(billed):
    server, owner, tenants = billed
    own = Operator(server, owner.key(tenants[0], scopes=["usage:read"])["key"])
    answers = forms(own, f"/v1/invoices/{AUGUST}", "getInvoice")
    check(answers, [answers["json"].json()], {tenants[0]: SCRIPT})
    (link, *_) = Page(answers["html"].text).links
    assert link.startswith(f"/v1/invoices/{AUGUST}/lines/")
    sessions = own.call("GET", link).json()["data"]
    assert sum(one["raw_ms"] for one in sessions) == answers["json"].json()["lines"][0]["raw_ms"]


@pytest.mark.parametrize("query", ["format=pdf", "format=", "format=csv&format=csv", "form=csv"])
def test_forms_that_there_are_not(billed, query):
    _, owner, tenants = billed
    for path in (f"{TENANTS}/{tenants[0]}/invoices/{AUGUST}", f"{PERIODS}/{AUGUST}/report"):
        answer = owner.call("GET", f"{path}?{query}")
        assert answer.status_code == 400 and "form" in answer.json()["detail"]


# MARK: Programs of others


@pytest.mark.long
def test_focus_is_what_its_validator_accepts(billed, tmp_path):
    _, owner, tenants = billed
    for number, path in enumerate(
        [f"{PERIODS}/{AUGUST}/report", f"{PERIODS}/{SEPTEMBER}/report", f"{TENANTS}/{tenants[0]}/invoices/{AUGUST}"]
    ):
        file = tmp_path / f"{number}.csv"
        rows = [
            row | {name: row[ours] for name, ours in VALIDATORS_NAMES.items()}
            for row in table(owner.call("GET", f"{path}?format=focus"))
        ]
        with file.open("w", newline="") as written:
            writer = csv.DictWriter(written, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        (packages,) = FOCUS.glob("lib/*/site-packages")
        # It looks for its list of currencies from where it is started.
        done = subprocess.run(
            [FOCUS / "bin/focus-validator", "--data-file", file, "--validate-version", "1.0"], cwd=packages,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "Validation succeeded" in said and "failed" not in said.lower(), said


class Served(BaseHTTPRequestHandler):
    """What was answered, with its headers: a browser does not send a token."""

    def do_GET(self):
        answer = self.server.answer
        self.send_response(200)
        for name in ("Content-Type", "Content-Security-Policy", "X-Content-Type-Options"):
            self.send_header(name, answer.headers[name])
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_):
        pass


def printed(answer, folder) -> str:
    """The text of the page's PDF. The PDF and pictures of it stay in the folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
             f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={folder / 'page.pdf'}",
             f"http://127.0.0.1:{server.server_port}/"],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    subprocess.run(["pdftoppm", "-r", "70", "-png", folder / "page.pdf", folder / "page"], check=True, timeout=60)
    done = subprocess.run(["pdftotext", "-layout", folder / "page.pdf", "-"], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.mark.long
def test_what_is_printed_has_the_amounts(billed, tmp_path):
    _, owner, tenants = billed
    for number, path in enumerate(
        [f"{TENANTS}/{tenants[0]}/invoices/{AUGUST}", f"{TENANTS}/{tenants[0]}/invoices/{SEPTEMBER}/preview", f"{PERIODS}/{AUGUST}/report"]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = owner.call("GET", path).json()
        text = printed(owner.call("GET", f"{path}?format=html"), folder)
        print(f"{folder}:\n{text}")
        words = text.split()
        for invoice in said.get("data", [said]):
            amounts = [line["amount"] for line in invoice["lines"]] + [invoice["total"]]
            # As often as in the JSON, at least: totals of the report stand there twice.
            for amount in set(amounts):
                assert words.count(amount) >= amounts.count(amount), (amount, text)
            for line in invoice["lines"]:
                assert all(tier["amount_precise"] in words for tier in line["tiers"])
        assert SCRIPT.replace(" ", "") in text.replace(" ", "").replace("\n", "")
