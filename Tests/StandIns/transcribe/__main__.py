"""python -m StandIns.transcribe [--port N] [--control-port N] [--settings JSON] --key ID SECRET [TOKEN] ...

Prints one line of JSON with its ports as soon as it listens, and ends on SIGTERM.
"""

import argparse
import asyncio
import json
import logging
import signal
import ssl

from .control import Control
from .presign import AccessKey
from .server import StandIn
from .settings import Settings


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("transcribe")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={}, help="names and values of settings.Settings")
    parser.add_argument("--key", nargs="+", action="append", default=[], metavar=("ID SECRET", "TOKEN"))
    parser.add_argument("--certificate", help="PEM file, for wss")
    parser.add_argument("--certificate-key", help="PEM file")
    return parser.parse_args()


async def main() -> None:
    given = arguments()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tls = None
    if given.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.certificate, given.certificate_key)
    keys = tuple(AccessKey(*key) for key in given.key)
    stand_in = StandIn(Settings(keys=keys).changed(given.settings))
    await stand_in.start(given.port, tls)
    control = Control(stand_in, given.control_port)
    print(json.dumps({"port": stand_in.port, "control_port": control.port}), flush=True)
    await stopping.wait()
    await asyncio.to_thread(control.close)
    await stand_in.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
