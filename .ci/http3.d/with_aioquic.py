"""Speaks HTTP/3 by aioquic: bodies of all sizes, many streams, refusals, and streams that are given up."""
import asyncio
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

port, authority_file = int(sys.argv[1]), sys.argv[2]


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.open = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for waiter in self.open.values():
                if not waiter["done"].done():
                    waiter["done"].set_exception(ConnectionError(str(event)))
        if isinstance(event, StreamReset) and event.stream_id in self.open:
            self.open[event.stream_id]["done"].set_result(("reset", event.error_code))
        for happened in self.http.handle_event(event):
            stream = self.open.get(happened.stream_id)
            if stream is None:
                continue
            if isinstance(happened, HeadersReceived):
                stream["fields"].append(dict(happened.headers))
            if isinstance(happened, DataReceived):
                stream["body"] += happened.data
            if happened.stream_ended and not stream["done"].done():
                stream["done"].set_result(None)

    def begin(self, method, path, host="a.test", fields=(), ends=True):
        number = self._quic.get_next_available_stream_id()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", path)]
        self.open[number] = {"fields": [], "body": bytearray(), "done": self._loop.create_future()}
        self.http.send_headers(number, [*head, *fields], end_stream=ends)
        self.transmit()
        return number

    async def end(self, number):
        stream = self.open[number]
        how = await asyncio.wait_for(stream["done"], 60)
        status = int(stream["fields"][-1][b":status"]) if stream["fields"] else None
        return status, bytes(stream["body"]), how

    async def ask(self, method, path, body=None, **others):
        number = self.begin(method, path, ends=body is None, **others)
        if body is not None:
            self.http.send_data(number, body, end_stream=True)
            self.transmit()
        return await self.end(number)


def client():
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test")
    configuration.load_verify_locations(authority_file)
    configuration.verify_mode = ssl.CERT_REQUIRED
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=Client)


async def main():
    async with client() as one:
        status, body, _ = await one.ask(b"GET", b"/hello?x")
        seen = json.loads(body)
        assert (status, seen["path"]) == (200, "/hello?x"), (status, body)
        fields = seen["fields"]
        assert (fields["x-forwarded-proto"], fields["x-forwarded-for"], fields["host"]) == ("https", "127.0.0.1", "a.test"), fields
        for size in (1, 70_000, 3_000_000):
            length = [(b"content-length", str(size).encode())]
            for announced in (length, []):
                status, body, _ = await one.ask(b"POST", b"/", b"y" * size, fields=announced)
                assert (status, body) == (200, str(size).encode()), (size, status, body)
            status, body, _ = await one.ask(b"GET", b"/large?%d" % size)
            assert (status, len(body)) == (200, size)
        answers = await asyncio.gather(*(one.ask(b"GET", b"/%d" % number) for number in range(300)))
        assert [json.loads(body)["path"] for _, body, _ in answers] == [f"/{number}" for number in range(300)]
        # One byte too many, of a body that does not end.
        number = one.begin(b"POST", b"/small", ends=False)
        one.http.send_data(number, b"z" * 1001, end_stream=False)
        one.transmit()
        status, body, _ = await one.end(number)
        assert status == 413, (status, body)
        assert (await one.ask(b"GET", b"/", host="b.test"))[0] == 421
        # Other protocols on a stream: those that are known get an answer, others a reset.
        assert (await one.ask(b"CONNECT", b"/", fields=[(b":protocol", b"webtransport")]))[0] == 403
        assert (await one.ask(b"CONNECT", b"/", fields=[(b":protocol", b"websocket")]))[0] in (403, None)
        assert (await one.ask(b"GET", b"/", fields=[(b"x", b"x" * 40_000), (b"y", b"y" * 40_000)]))[0] == 431
        assert (await one.ask(b"GET", b"/"))[0] == 200, "the connection goes on"
        # A request that is given up, and one in the middle of its upload.
        number = one.begin(b"GET", b"/waits")
        assert (await one.ask(b"GET", b"/waiting"))[1] == b"true"
        one._quic.stop_stream(number, ErrorCode.H3_REQUEST_CANCELLED)
        one.transmit()
        assert (await one.ask(b"GET", b"/given-up"))[1] == b"true", "the backend was not told"
        number = one.begin(b"POST", b"/", fields=[(b"content-length", b"100")], ends=False)
        one.http.send_data(number, b"half", end_stream=False)
        one._quic.reset_stream(number, ErrorCode.H3_REQUEST_CANCELLED)
        one.transmit()
        assert (await one.ask(b"GET", b"/"))[0] == 200
    # A connection that breaks off in the middle of a large response hurts no other.
    async with client() as broken:
        broken.begin(b"GET", b"/large?3000000")
        await asyncio.sleep(0.05)
        broken._quic.close(error_code=ErrorCode.H3_INTERNAL_ERROR)
        broken.transmit()
    async with client() as other:
        assert (await other.ask(b"GET", b"/"))[0] == 200


asyncio.run(main())
