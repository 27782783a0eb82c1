"""What the Python clients must be able to do: the checks of ../checks.mjs under the same names.

Called with a JSON object {url, generation, transport, parser} and the names of the checks; prints a JSON line for each.
"""

import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
from urllib.parse import urlsplit

import engineio
import socketio

# By default these clients give a poll up that answers with more than 16 packets; Node's server sends what there is.
engineio.payload.Payload.max_decode_packets = 1000

DEADLINE = 20  # seconds for anything that must happen, on a busy machine too
PIPELINED = 200
HEARTBEAT_SURVIVAL = 1.6  # seconds: five intervals of 300 ms; the client does not tell of its heartbeats
MEGABYTE = 1_000_000
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}

JSON_KINDS = [
    None, True, False, 0, -1, 1.5, 9007199254740991, "", "text", 'quotes " \\ / and \n\t', "ünï 🦀 \u2028\u2029 \u0000",
    [], [1, [2, [3, []]]], {}, {"a": {"b": [None, {"c": "d"}]}, "": 1}, "long " * 4000,
]  # fmt: skip

cell = json.loads(sys.argv[1])
OLD = cell["generation"] < 5

if OLD:
    # These clients hand each message to a thread of its own: an attachment may be looked at before its event is, and is no
    # packet then. In the thread that reads, they come in their order.
    start_background_task = engineio.Client.start_background_task

    def in_order(self, target, *args, **kwargs):
        if getattr(target, "__name__", "") == "_handle_eio_message":
            return target(*args, **kwargs)
        return start_background_task(self, target, *args, **kwargs)

    engineio.Client.start_background_task = in_order


class Client:
    """A client with what it hears in queues, one for each event and namespace."""

    opened = []

    def __init__(self, *namespaces, query="", auth=None, reconnection=False):
        options = {"serializer": "msgpack"} if cell.get("parser") == "msgpack" else {}
        self.sio = socketio.Client(
            reconnection=reconnection, reconnection_delay=0.01, reconnection_delay_max=0.05, randomization_factor=0, **options
        )
        Client.opened.append(self.sio)
        self.heard = {}
        for namespace in namespaces or ["/"]:
            for event in ["welcome", "connect_error", "disconnect", "echo", "burst", "news"]:
                self.listen(event, namespace)
        self.namespaces = list(namespaces or ["/"])
        self.query = query
        self.options = {} if OLD else {"auth": auth, "wait_timeout": DEADLINE}

    def open(self, url=cell["url"]):
        transports = TRANSPORTS[cell["transport"]]
        self.sio.connect(url + self.query, transports=transports, namespaces=self.namespaces, **self.options)

    def connect(self, *url):
        self.open(*url)
        self.welcome = {name: self.next("welcome", name)[0] for name in self.namespaces}
        return self

    def listen(self, event, namespace):
        heard = self.heard[event, namespace] = queue.Queue()
        self.sio.on(event, lambda *args: heard.put(list(args)), namespace=namespace)

    def next(self, event, namespace="/"):
        try:
            return self.heard[event, namespace].get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"did not happen within {DEADLINE} s: {event} in {namespace}") from None

    def ask(self, event, *args, namespace="/"):
        """Emits, and gives the list of the acknowledgement's arguments."""
        answer = self.sio.call(event, args if args else None, namespace=namespace, timeout=DEADLINE)
        return list(answer) if isinstance(answer, tuple) else [answer]

    def call(self, event, *args, namespace="/"):
        return self.ask(event, *args, namespace=namespace)[0]

    def echo(self, *args):
        self.sio.emit("echo", args)
        return self.next("echo")


class Line:
    """Hands connections on to a port of this machine, and can cut all of them."""

    def __init__(self, onward):
        self.onward = onward
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.onward))
            self.sockets += [near, far]
            for ends in [(near, far), (far, near)]:
                threading.Thread(target=self.hand_on, args=ends, daemon=True).start()

    @staticmethod
    def hand_on(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other direction, or cut, ended it

    def cut(self):
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it had ended by itself
        self.sockets.clear()


def connects():
    client = Client().connect()
    same(client.welcome["/"]["nsp"], "/")
    same(client.welcome["/"]["id"], client.sio.sid if OLD else client.sio.get_sid())
    same(client.call("transport"), "polling" if cell["transport"] == "polling" else "websocket")


def echoes_json():
    client = Client().connect()
    same(client.ask("echo", *JSON_KINDS), JSON_KINDS)
    same(client.echo(*JSON_KINDS), JSON_KINDS)


def echoes_binary():
    client = Client().connect()
    empty = [] if OLD else [b""]  # the old client reads empty binary as None
    args = [{"a": [bytes(range(256)), {"b": b"\1\2\3"}], "n": 1}, *empty, "between", [[b"\0"]]]
    same(client.ask("echo", *args), args)
    same(client.echo(*args), args)
    same(client.call("blob", 1000), b"\7" * 1000)


def acknowledges():
    client = Client().connect()
    client.sio.on("question", lambda value: {"answered": value})
    for value in [7, "text", ["a", {"b": None}], {"x": [b"\1\2"]}]:
        same(client.call("ask", value), {"ok": True, "answer": {"answered": value}})


def keeps_order():
    client = Client().connect()
    for number in range(PIPELINED):
        client.sio.emit("echo", (number, bytes([number])) if number % 10 == 0 else number)
    # The client runs each handler in a thread of its own: that all came can be checked, not in which order.
    same(sorted(client.next("echo")[0] for _ in range(PIPELINED)), list(range(PIPELINED)))
    same(client.call("burst", PIPELINED), PIPELINED)
    same(sorted(client.next("burst")[0] for _ in range(PIPELINED)), list(range(PIPELINED)))


def rooms():
    one, two = Client().connect(), Client().connect()
    ids = [client.welcome["/"]["id"] for client in (one, two)]
    room = f"room of {ids[0]}"
    for client, own in zip((one, two), ids):
        same(client.call("join", room), sorted([room, own]))
    same(one.call("cast", room, "news", 1, {"data": b"\4\5"}), True)
    same(two.next("news"), [1, {"data": b"\4\5"}])
    same(two.call("leave", room), [ids[1]])
    same(one.call("cast", room, "news", 2), True)
    same(two.call("cast", room, "news", 3), True)
    same(one.next("news"), [3])
    same(two.heard["news", "/"].empty(), True)


def another_namespace():
    client = Client("/", "/chat").connect()
    same(client.welcome["/chat"]["nsp"], "/chat")
    same(client.ask("echo", "in chat", b"\t", namespace="/chat"), ["in chat", b"\t"])
    same(client.ask("echo", "in /"), ["in /"])


def is_refused():
    client = Client("/auth")
    try:
        client.open()
    except socketio.exceptions.ConnectionError:
        pass  # the newer one waits for its namespaces, the old one does not
    error = client.next("connect_error", "/auth")[0]
    same(error, {"code": 4001} if OLD else {"message": "bad token", "data": {"code": 4001}})


def is_accepted():
    client = Client("/auth", query="?token=secret") if OLD else Client("/auth", auth={"token": "secret"})
    same(client.connect().welcome["/auth"]["nsp"], "/auth")


def is_disconnected():
    client = Client("/", "/chat").connect()
    client.sio.emit("bye", False, namespace="/chat")
    client.next("disconnect", "/chat")
    same(client.ask("echo", "still there"), ["still there"])
    client.sio.emit("bye", True)
    client.next("disconnect")
    waiting = threading.Thread(target=client.sio.eio.wait, daemon=True)
    waiting.start()
    waiting.join(DEADLINE)
    same(waiting.is_alive(), False)


def reconnects():
    client = Client(reconnection=True)
    if cell["transport"] == "polling":
        # The close packet that the server would send is the end for this client: its connections are cut instead.
        line = Line(urlsplit(cell["url"]).port)
        client.connect(f"http://127.0.0.1:{line.port}")
        end = time.monotonic() + DEADLINE
        while client.heard["disconnect", "/"].empty() and time.monotonic() < end:  # between two polls a cut goes unnoticed
            line.cut()
            time.sleep(0.02)
    else:
        client.connect()
        client.sio.eio.send("garbage")  # no packet of Socket.IO: the server closes the connection
    client.next("disconnect")
    again = client.next("welcome")[0]
    same(again["id"] == client.welcome["/"]["id"], False)
    same(client.ask("echo", "back", b"\1"), ["back", b"\1"])


def megabyte():
    client = Client().connect()
    text = "x" * MEGABYTE
    same(client.ask("echo", text), [text])
    data = bytes(range(250)) * (MEGABYTE // 250)
    same(client.ask("echo", {"megabyte": data}), [{"megabyte": data}])


def heartbeats():
    client = Client().connect()
    time.sleep(HEARTBEAT_SURVIVAL)
    same(client.ask("echo", "alive"), ["alive"])
    same(client.heard["disconnect", "/"].empty(), True)


CHECKS = {
    "connects, and is welcomed": connects,
    "echoes JSON of every kind": echoes_json,
    "echoes nested binary": echoes_binary,
    "acknowledges both ways": acknowledges,
    "keeps pipelined events in order": keeps_order,
    "is in rooms with another client": rooms,
    "joins another namespace": another_namespace,
    "is refused with the data of the error": is_refused,
    "is accepted with a token": is_accepted,
    "is disconnected by the server": is_disconnected,
    "reconnects after the server dropped it": reconnects,
    "carries a megabyte both ways": megabyte,
    "lives on its heartbeats": heartbeats,
}


def same(actual, expected):
    if actual != expected:
        raise AssertionError(f"got {shorten(actual)}, expected {shorten(expected)}")


def shorten(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}… ({len(text)} characters)"


def outcome(check):
    try:
        check()
    except Exception as error:
        if not isinstance(error, (AssertionError, socketio.exceptions.SocketIOError)):
            traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    finally:
        for sio in Client.opened:
            if OLD or sio.connected:
                sio.disconnect()
        Client.opened.clear()
    return None


failed = False
for name in sys.argv[2:]:
    error = "not tried: the first check failed" if failed else outcome(CHECKS[name])
    failed = failed or (name == sys.argv[2] and error is not None)
    print(json.dumps({"check": name, "error": error}), flush=True)
os._exit(0)  # not waiting for threads of a client that could not end
