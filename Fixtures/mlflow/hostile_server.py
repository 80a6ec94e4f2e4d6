#!/usr/bin/env python3
"""An HTTP server that behaves badly, or lets little through to a real MLflow server.

    hostile_server.py [--target http://127.0.0.1:PORT]

It prints the port that it listens on. The first part of a request's path says what happens to it, so that
one server does for all clients:

    /pass/…             forwarded
    /rate=N/…           N requests a second are forwarded (a token bucket of one), 429 with Retry-After else
    /every2=WHAT/…      every second request is refused: a status, or `cut`
    /NAME/…             answered as the function of that name below says

and GET /counts tells how many requests each of them took and refused.
"""

import argparse
import base64
import html
import http.client
import json
import math
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31m\u202eevil\u2066\x9b31m\u2028next\r\nINJECTED line"


class Limits:
    """Token buckets and counters by path prefix."""

    def __init__(self):
        self.lock = threading.Lock()
        self.next_time = {}
        self.counts = {}

    def count(self, name, kind):
        with self.lock:
            entry = self.counts.setdefault(name, {"taken": 0, "refused": 0})
            entry[kind] += 1
            return entry["taken"] + entry["refused"]

    def wait(self, name, rate):
        """0 where a request may pass now, the seconds until the next may otherwise."""
        with self.lock:
            now = time.monotonic()
            due = self.next_time.get(name, 0)
            if now >= due:
                self.next_time[name] = now + 1 / rate
                return 0
            return due - now


LIMITS = Limits()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = None

    def log_message(self, *arguments):
        pass

    def handle_request(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if self.path == "/counts":
            return self.answer(200, json.dumps(LIMITS.counts))
        name, _, rest = self.path.lstrip("/").partition("/")
        self.rest = "/" + rest
        kind, _, value = urllib.parse.unquote(name).partition("=")
        if kind == "pass":
            return self.forward(name)
        if kind == "rate":
            wait = LIMITS.wait(name, float(value))
            if wait == 0:
                return self.forward(name)
            LIMITS.count(name, "refused")
            # Whole seconds as the standard wants them, where that does not make a fast limit a slow one.
            wish = str(max(1, round(wait))) if float(value) <= 1 else f"{math.ceil(wait * 100) / 100:.2f}"
            return self.answer(429, "slow down", {"Retry-After": wish})
        if kind == "every2":
            if LIMITS.count(name, "taken") % 2 == 1:
                return self.forward(name, counted=True)
            if value == "cut":
                return self.cut()
            return self.answer(int(value), "not this one")
        getattr(self, "do_" + kind.replace("-", "_"))()

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = handle_request

    def answer(self, status, text, headers=None, kind="text/plain"):
        data = text.encode("utf-8", "surrogateescape")
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def forward(self, name, counted=False):
        if not counted:
            LIMITS.count(name, "taken")
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        headers = {
            key: value for key, value in self.headers.items()
            if key.lower() not in ("host", "connection", "content-length", "authorization")
        }
        connection.request(self.command, self.rest, self.body or None, headers)
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    def cut(self):
        self.close_connection = True
        self.connection.close()

    # The faults.

    def do_429_huge(self):
        self.answer(429, "go away", {"Retry-After": "99999999999"})

    def do_429_overflow(self):
        self.answer(429, "go away", {"Retry-After": "9" * 400})

    def do_429_date(self):
        self.answer(429, "go away", {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"})

    def do_429_nonsense(self):
        wishes = ["-5", "nan", "inf", "0x10", "soon", "1e9", "", "\u00e9"]
        index = LIMITS.count("429-nonsense", "refused") % len(wishes)
        self.answer(429, "go away", {"Retry-After": wishes[index].encode().decode("latin-1")})

    def do_503_huge(self):
        self.answer(503, "maintenance", {"Retry-After": "99999999999"})

    def do_500(self):
        self.answer(500, "<html><h1>Internal error</h1></html>", kind="text/html")

    def do_cut(self):
        self.cut()

    def do_truncated(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experi')
        self.cut()

    def do_torn(self):
        self.answer(200, '{"experiment": {"experiment_id": "1')

    def do_drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        try:
            for _ in range(2000):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.5)
        except OSError:
            self.close_connection = True

    def do_trickle(self):
        """Fast enough not to count as silent, and never over."""
        self.send_response(200)
        self.send_header("Content-Length", "100000000")
        self.end_headers()
        try:
            for _ in range(100000):
                self.wfile.write(b" " * 100)
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def do_silent(self):
        time.sleep(30)
        self.cut()

    def do_redirect(self):
        secret = urllib.parse.quote(self.password())
        self.answer(
            302, "", {"Location": f"http://elsewhere.invalid/login?back={secret}&x=%1b%5b2J"})

    def do_circle(self):
        self.answer(307, "", {"Location": self.path})

    def do_401(self):
        self.answer(401, "who are you? " + self.echo(), {"WWW-Authenticate": "Basic"})

    def do_html200(self):
        self.answer(200, "<html><title>Sign in</title>" + self.echo() + "</html>", kind="text/html")

    def do_json200(self):
        self.answer(200, '{"status": "ok", "items": []}', kind="application/json")

    def do_list200(self):
        self.answer(200, "[1, 2, 3]", kind="application/json")

    def do_204(self):
        self.send_response(204)
        self.end_headers()

    def do_echo200(self):
        self.answer(200, json.dumps({"you": self.echo()}), kind="application/json")

    def do_echo400(self):
        body = {"error_code": "BAD_" + ESCAPES, "message": self.echo()}
        self.answer(400, json.dumps(body), kind="application/json")

    def do_echo403(self):
        self.answer(403, self.echo())

    def do_echo500(self):
        self.answer(500, "<pre>" + self.echo() + "</pre>", kind="text/html")

    def do_echo502(self):
        # So long that the text shown ends somewhere within a secret.
        self.answer(502, "x" * 270 + " " + self.echo())

    def do_escapes(self):
        self.answer(403, ESCAPES)

    def do_ids(self):
        """Answers as MLflow does, with ids that are none."""
        bad = "1\x1b[2J/../../etc"
        run = {"info": {"run_id": bad, "experiment_id": bad, "artifact_uri": bad, "status": bad}}
        self.answer(
            200, json.dumps({"experiment": {"experiment_id": bad}, "run": run}),
            kind="application/json")

    def password(self):
        words = (self.headers.get("Authorization") or "").split(" ")
        if len(words) < 2:
            return ""
        return base64.b64decode(words[1] + "==").decode().partition(":")[2]

    def echo(self):
        """The credentials in every form that a page may have them in."""
        header = self.headers.get("Authorization") or ""
        login = base64.b64decode(header.partition(" ")[2] + "==")
        secret = self.password()
        raw = base64.b64encode(secret.encode()).decode()
        return " | ".join([
            header, secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret),
            json.dumps(secret), html.escape(secret), raw, raw.rstrip("="),
            base64.urlsafe_b64encode(login).decode(), ESCAPES,
        ])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="http://127.0.0.1:5000")
    arguments = parser.parse_args()
    Handler.target = urllib.parse.urlparse(arguments.target).port
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    # It ends with whoever holds the other end of its input.
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
