"""A weather service that makes its forecasts up: GET /?city=NAME for three days, GET /hourly?city=NAME for eight hours."""

import json
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CITY = {
    "name": "city",
    "in": "query",
    "required": True,
    "description": "The city",
    "schema": {"type": "string", "minLength": 1},
}
SPECIFICATION = {
    "openapi": "3.1.0",
    "info": {"title": "Weather", "version": "1"},
    "paths": {
        "/": {
            "get": {
                "operationId": "get_daily_weather",
                "summary": "The forecast for the next three days in a city",
                "parameters": [CITY],
                "responses": {"200": {"description": "The forecast"}},
            }
        },
        "/hourly": {
            "get": {
                "operationId": "get_hourly_weather",
                "summary": "The forecast for the next eight hours in a city",
                "parameters": [CITY],
                "responses": {"200": {"description": "The forecast"}},
            }
        },
    },
}
SKIES = ["clear", "cloudy", "rain", "fog"]


def forecast(city: str, when: str) -> dict:
    chance = zlib.crc32(f"{city.lower()} {when}".encode())
    return {"when": when, "temperature": chance % 35 - 5, "sky": SKIES[chance // 7 % len(SKIES)]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urlsplit(self.path)
        city = parse_qs(address.query).get("city", [""])[0]
        times = {"/": ["today", "tomorrow", "the day after"], "/hourly": [f"in {n} h" for n in range(1, 9)]}
        if address.path == "/openapi.json":
            self.answer(200, SPECIFICATION)
        elif address.path not in times:
            self.answer(404, {"detail": "there is nothing here"})
        elif not city:
            self.answer(422, {"detail": "city is missing"})
        else:
            forecasts = [forecast(city, when) for when in times[address.path]]
            self.answer(200, {"city": city, "forecasts": forecasts})

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
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8010
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"weather: http://127.0.0.1:{port}", flush=True)
        server.serve_forever()
