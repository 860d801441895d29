#!/bin/bash
# asyncio sets TCP_NODELAY on an accepted connection only where the listening socket says that its
# protocol is TCP (sock.proto == IPPROTO_TCP). A socket of socket.socket(AF_INET, SOCK_STREAM) or
# of socket.create_server() says 0, though it is as much TCP, and what it accepts inherits the 0.
# A server that is given such a socket, as uvicorn is by Server.run(sockets=[...]), therefore
# answers with Nagle's algorithm on: head and body of an answer are two writes, the second waits
# for the client's delayed acknowledgement of the first, and every request on a connection that
# stays open takes 40 ms and more on Linux. Nothing warns; with a connection for each request, as
# most benchmarks have it, nothing is seen.
#
# It matters to Milvine because its REST API listens before uvicorn starts, to tell of a busy port
# in its own words. The cure is socket.socket(family, SOCK_STREAM, IPPROTO_TCP).
#
# Ends with 0 while uvicorn on asyncio behaves so, with 1 when it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.34.0 h11==0.14.0 click==8.1.8
cat > "$folder/try.py" <<'PYTHON'
import platform
import socket
import sys
import threading
import time
from importlib.metadata import version

import uvicorn


async def app(scope, receive, send):
    transport_socket = connection_of(scope["client"][1])
    on = transport_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"1" if on else b"0"})


def connection_of(port):
    return next(
        found
        for each in server.server_state.connections
        if (found := each.transport.get_extra_info("socket")).getpeername()[1] == port
    )


def nodelay(listening):
    global server
    if listening.getsockname()[1] == 0:
        listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", http="h11", log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with socket.create_connection(listening.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    server.should_exit = True
    thread.join()
    return answer[-1:] == b"1"


made = {
    "socket.socket(AF_INET, SOCK_STREAM)": socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "socket.create_server(...)": socket.create_server(("127.0.0.1", 0)),
    "socket.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)": socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    ),
}
print(f"Python {platform.python_version()}, uvicorn {version('uvicorn')}, {platform.system()}")
seen = []
for name, listening in made.items():
    proto = listening.proto
    seen.append(nodelay(listening))
    print(f"{name}: proto {proto}, TCP_NODELAY of what it accepts: {'on' if seen[-1] else 'off'}")
sys.exit(seen != [False, False, True])
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
