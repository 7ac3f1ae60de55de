"""Invoices, kept in memory: GET /invoices/{number}, POST /refunds. Both want the key of INVOICES_KEY in the header X-Key."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

KEY = os.environ.get("INVOICES_KEY", "invoices-demo-key")
NUMBER = {"type": "string", "description": "The number of the invoice, like INV-1001"}
SPECIFICATION = {
    "openapi": "3.1.0",
    "info": {"title": "Invoices", "version": "1"},
    "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}},
    "paths": {
        "/invoices/{number}": {
            "get": {
                "operationId": "get_invoice",
                "summary": "Looks up an invoice",
                "parameters": [{"name": "number", "in": "path", "required": True, "schema": NUMBER}],
                "responses": {"200": {"description": "The invoice"}},
            }
        },
        "/refunds": {
            "post": {
                "operationId": "refund",
                "summary": "Pays back an invoice, or a part of it",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["number", "amount"],
                                "properties": {
                                    "number": NUMBER,
                                    "amount": {"type": "number", "exclusiveMinimum": 0, "description": "In euros"},
                                },
                            }
                        }
                    },
                },
                "responses": {"200": {"description": "What was paid back"}},
            }
        },
    },
}
INVOICES = {
    "INV-1001": {"number": "INV-1001", "customer": "ann", "total": 120.00, "for": "Router, two of them; one was ordered"},
    "INV-1002": {"number": "INV-1002", "customer": "bob", "total": 500.00, "for": "Laptop"},
}
REFUNDS: dict = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/openapi.json":
            return self.answer(200, SPECIFICATION)
        if not self.is_allowed():
            return None
        invoice = INVOICES.get(unquote(path.removeprefix("/invoices/")))
        return self.answer(200, invoice) if invoice else self.answer(404, {"detail": "there is no such invoice"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if not self.is_allowed():
            return None
        wanted = json.loads(body)
        invoice = INVOICES.get(wanted.get("number"))
        if invoice is None:
            return self.answer(404, {"detail": "there is no such invoice"})
        if wanted["amount"] > invoice["total"]:
            return self.answer(422, {"detail": f"the invoice is about {invoice['total']} only"})
        # The same call again is the same refund.
        key = self.headers.get("Idempotency-Key") or str(len(REFUNDS))
        refund = REFUNDS.setdefault(key, {"refund": len(REFUNDS) + 1, **wanted})
        return self.answer(200, refund)

    def is_allowed(self) -> bool:
        if self.headers.get("X-Key") == KEY:
            return True
        self.answer(401, {"detail": "the header X-Key is missing or wrong"})
        return False

    def answer(self, status: int, body: dict):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8011
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"invoices: http://127.0.0.1:{port}", flush=True)
        server.serve_forever()
