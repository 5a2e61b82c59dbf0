"""A balancer in front of replicas of `glimp serve`: each connection goes to the next one. For trying it, on loopback.

glimp serve --config pair.toml --port 8001
glimp serve --config pair.toml --port 8002
python examples/round_robin.py 8000 8001 8002
"""

import asyncio
import sys
from contextlib import suppress
from itertools import cycle


async def main(port: int, *replicas: int) -> None:
    """Listen on a port, and hand each connection to the next replica that takes it."""
    turns = cycle(replicas)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in replicas:
            with suppress(ConnectionError):
                answers, asks = await asyncio.open_connection("127.0.0.1", next(turns))
                await asyncio.gather(passed(reader, asks), passed(answers, writer))
                return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
