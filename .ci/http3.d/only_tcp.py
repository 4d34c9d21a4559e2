"""Passes TCP connections on to a port, from a port on which no UDP is answered. Prints its own port."""
import asyncio
import sys

port = int(sys.argv[1])


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def serve(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
