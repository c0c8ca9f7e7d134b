"""A keyferry terminal on aiocoap, written from PROTOCOL.md and keyferry.cddl alone.

Does what it is told on its command line, one thing after the other, and prints what it saw as JSON."""

import argparse
import asyncio
import dataclasses
import json
import secrets
import socket
import sys

import aiocoap
from aiocoap import error, resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.transports.oscore import OSCOREAddress

import messages
from epochs import Epochs, Provisioning
from records import Connection

PATIENCE_SECONDS = 30


class Refused(Exception):
    """The gateway sent a failure, as answer or push, or this terminal refused the keys."""

    def __init__(self, code, failure):
        super().__init__(f"{code}: {failure}")
        self.code = code
        self.failure = failure


@dataclasses.dataclass
class Expected:
    """A session promised by the gateway."""

    request: dict
    wanted_name: str
    socket: socket.socket
    outcome: asyncio.Future
    taken: bytes | None = None


class ProtectedResource(resource.Resource):
    """aiocoap hands requests without OSCORE through."""

    async def render(self, request):
        if not isinstance(request.remote, OSCOREAddress):
            raise error.Unauthorized
        return await super().render(request)


class EchoResource(ProtectedResource):
    """/kf/echo"""

    def __init__(self, schemas):
        super().__init__()
        self.schemas = schemas

    async def render_post(self, request):
        try:
            self.schemas.decode("echo", request.payload)
        except ValueError:
            return aiocoap.Message(code=aiocoap.BAD_REQUEST)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload)


class SessionResource(ProtectedResource):
    """/kf/session"""

    def __init__(self, schemas):
        super().__init__()
        self.schemas = schemas
        self.expected = {}

    async def render_post(self, request):
        try:
            push = self.schemas.decode("session-push", request.payload)
            session = push[1]
        except (ValueError, KeyError) as problem:
            print(problem, file=sys.stderr)
            return self.refuse(aiocoap.BAD_REQUEST, messages.MALFORMED_REQUEST)
        expected = self.expected.get(session)
        if expected is None:
            return self.refuse(aiocoap.CONFLICT, messages.CLOSED_BY_TERMINAL, session)
        if expected.taken != request.payload:
            try:
                self.take(expected, push)
            except ValueError as problem:
                return self.refuse(aiocoap.CONFLICT, problem.args[0], session)
            expected.taken = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)

    def take(self, expected, push):
        """Raises ValueError with the reason when the keys do not fit."""
        if 14 in push:
            if not expected.outcome.done():
                expected.outcome.set_exception(Refused("push", push))
            return
        if expected.outcome.done():
            raise ValueError(messages.ADDRESS_NOT_BOUND)
        try:
            own, peer = (packed(name) for name in (expected.socket.getsockname(), expected.socket.getpeername()))
        except OSError:
            raise ValueError(messages.ADDRESS_NOT_BOUND) from None
        reason = messages.misfit(push, expected.request, expected.wanted_name, own, peer)
        if reason is not None:
            expected.outcome.set_exception(Refused("own", {14: reason}))
            raise ValueError(reason)
        expected.outcome.set_result(push)

    def refuse(self, code, reason, session=None):
        failure = {14: reason} if session is None else {1: session, 14: reason}
        return aiocoap.Message(code=code, payload=self.schemas.encode("failure", failure))


class Terminal:
    """Client and server on one UDP port."""

    def __init__(self, options):
        self.provisioning = Provisioning.read(options.config)
        self.epochs = Epochs(self.provisioning, options.state)
        self.schemas = messages.Schemas(options.cddl)
        self.sessions = SessionResource(self.schemas)
        self.key_updates = 0
        self.largest_request = 0

    async def open(self):
        site = resource.Site()
        site.add_resource(["kf", "echo"], EchoResource(self.schemas))
        site.add_resource(["kf", "session"], self.sessions)
        host, port = self.provisioning.gateway.rsplit(":", 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))
            self.own_address, own_port = probe.getsockname()
        self.context = await aiocoap.Context.create_server_context(
            OscoreSiteWrapper(site, self.epochs), bind=(self.own_address, own_port), transports=["oscore", "udp6"]
        )
        self.context.client_credentials = self.epochs

    async def post(self, path, payload):
        uri = f"coap://{self.provisioning.gateway}{path}"
        request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload)
        self.largest_request = max(self.largest_request, len(payload))
        return await asyncio.wait_for(self.context.request(request).response, PATIENCE_SECONDS)

    async def echo(self):
        payload = self.schemas.encode("echo", secrets.token_bytes(8))
        answer = await self.post("/kf/echo", payload)
        if not answer.code.is_successful() or answer.payload != payload:
            raise ValueError(f"echo answered {answer.code}, {answer.payload.hex()}")

    async def connect(self, peer, port, alpn, wanted_name=None):
        """A session. `wanted_name`: whom the peer must have proved to be, if not the one that is asked for."""
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setblocking(False)
        tcp.bind((self.own_address, 0))
        request = {0: peer, 1: port, 2: tcp.getsockname()[1]}
        if alpn:
            request[4] = alpn
        answer = await self.post("/kf/connect", self.schemas.encode("connect", request))
        if not answer.code.is_successful():
            tcp.close()
            raise Refused(answer.code.dotted, self.schemas.decode("failure", answer.payload))
        offer = self.schemas.decode("connect-answer", answer.payload)
        expected = Expected(request, wanted_name or peer, tcp, asyncio.get_running_loop().create_future())
        self.sessions.expected[offer[0]] = expected
        try:
            await asyncio.get_running_loop().sock_connect(tcp, (socket.inet_ntoa(offer[1]), port))
        except OSError as problem:
            # The push may come behind the reset; it says why.
            print(problem, file=sys.stderr)
        try:
            handover = await asyncio.wait_for(expected.outcome, PATIENCE_SECONDS)
        except Refused as refusal:
            if refusal.code == "own":
                await until_ended(tcp)
            tcp.close()
            raise
        tx, rx = (handover[3], handover.get(5, 0)), (handover[4], handover.get(6, 0))
        connection = Connection(handover[2], tx, rx, records_per_key=handover[9][0])
        return Pipe(tcp, connection, handover.get(11, b""))

    async def get(self, peer, port, path, alpn):
        """The body of a page."""
        pipe = await self.connect(peer, port, alpn)
        await pipe.send(f"GET {path} HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await pipe.read()).partition(b"\r\n\r\n")
        await pipe.close()
        self.key_updates += pipe.connection.key_updates
        if head.split()[1:2] != [b"200"]:
            raise ValueError(head)
        return body.decode()

    async def echo_after_greeting(self, peer, port, alpn, greeting_length, echoed_length):
        """For a peer that speaks first and then gives back what it gets."""
        pipe = await self.connect(peer, port, alpn)
        greeting = await pipe.read(greeting_length)
        sent = secrets.token_bytes(echoed_length)
        await pipe.send(sent)
        if await pipe.read(echoed_length) != sent:
            raise ValueError("the peer gave back something else")
        await pipe.close()
        self.key_updates += pipe.connection.key_updates
        return greeting.decode()


class Pipe:
    """A TCP socket with the connection on it."""

    def __init__(self, tcp, connection, prefix):
        self.tcp = tcp
        self.connection = connection
        self.waiting = prefix
        self.text = b""

    async def send(self, text):
        await asyncio.get_running_loop().sock_sendall(self.tcp, self.connection.send(text))

    async def read(self, length=None):
        """So many bytes, or all until close_notify."""
        loop = asyncio.get_running_loop()
        while not self.connection.closed and (length is None or len(self.text) < length):
            ciphertext, self.waiting = self.waiting, b""
            if not ciphertext:
                ciphertext = await asyncio.wait_for(loop.sock_recv(self.tcp, 65536), PATIENCE_SECONDS)
            if not ciphertext:
                raise ConnectionAbortedError("TCP ended without close_notify")
            text, answer = self.connection.receive(ciphertext)
            self.text += text
            await loop.sock_sendall(self.tcp, answer)
        taken, self.text = self.text[:length], self.text[len(self.text) if length is None else length :]
        return taken

    async def close(self):
        await asyncio.get_running_loop().sock_sendall(self.tcp, self.connection.close())
        self.tcp.close()


async def until_ended(tcp):
    """The gateway ends the connection whose keys were refused; the peer may have said something before."""
    loop = asyncio.get_running_loop()
    try:
        while await asyncio.wait_for(loop.sock_recv(tcp, 65536), PATIENCE_SECONDS):
            pass
    except ConnectionResetError:
        pass


def packed(name):
    """Address and port as a binding has them."""
    return socket.inet_aton(name[0]), name[1]


def target(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def run(options):
    terminal = Terminal(options)
    await terminal.open()
    report = {"pages": [], "epochs": [], "refusals": [], "greetings": []}
    for number in range(options.sessions):
        if number in options.advance_before:
            report["advance_refused"] = not terminal.epochs.start_next()
            await terminal.echo()
        report["pages"].append(await terminal.get(*options.target, options.path, options.alpn))
        report["epochs"].append(terminal.epochs.record.epoch)
    for length in options.greeting:
        greeting = await terminal.echo_after_greeting(*options.target, options.alpn, length, options.echoed)
        report["greetings"].append(greeting)
    for refused in options.refused:
        try:
            await terminal.connect(*refused, None, options.wanted_name)
        except Refused as refusal:
            report["refusals"].append({"code": refusal.code, "reason": refusal.failure[14]})
    await terminal.context.shutdown()
    report |= {
        "counts": terminal.epochs.counts,
        "key_updates": terminal.key_updates,
        "largest_request": terminal.largest_request,
        "validated": terminal.schemas.counts,
    }
    print(json.dumps(report))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="what `keyferry terminal add` wrote")
    parser.add_argument("--state", required=True, help="where this terminal keeps what survives a restart")
    parser.add_argument("--cddl", required=True, help="keyferry.cddl")
    parser.add_argument("--target", type=target, default=("server.example", 443))
    parser.add_argument("--path", default="/")
    parser.add_argument("--alpn", action="append", help="a protocol to offer")
    parser.add_argument("--sessions", type=int, default=0, help="pages to fetch, each in a session of its own")
    parser.add_argument("--advance-before", type=int, action="append", default=[], help="session number, from 0")
    parser.add_argument("--greeting", type=int, action="append", default=[], help="bytes the peer says first")
    parser.add_argument("--echoed", type=int, default=1, help="bytes the peer then gives back")
    parser.add_argument("--refused", type=target, action="append", default=[], help="where no session comes to be")
    parser.add_argument("--wanted-name", help="there: whom the peer must prove to be, if not its host")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
