"""A client on Python's ssl module: fetches / and prints the connection as a line of JSON, then the page."""

import argparse
import json
import socket
import ssl
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--anchor", required=True)
    parser.add_argument("--name", help="asked for by SNI and verified; without it the address is")
    parser.add_argument("--version", choices=["TLSv1.2", "TLSv1.3"])
    parser.add_argument("--chain")
    parser.add_argument("--key")
    parser.add_argument("--alpn", action="append", default=[])
    options = parser.parse_args()

    context = ssl.create_default_context(cafile=options.anchor)
    if options.version:
        version = ssl.TLSVersion[options.version.replace(".", "_")]
        context.minimum_version = context.maximum_version = version
    if options.chain:
        context.load_cert_chain(options.chain, options.key)
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    try:
        with socket.create_connection((options.address, options.port), timeout=15) as plain:
            # Python sends no SNI for an address, and verifies it.
            name = options.name or options.address
            with context.wrap_socket(plain, server_hostname=name) as tls:
                report = {
                    "version": tls.version(),
                    "cipher": tls.cipher()[0],
                    "alpn": tls.selected_alpn_protocol(),
                }
                print(json.dumps(report))
                tls.sendall(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
                while piece := tls.recv(65536):
                    sys.stdout.write(piece.decode())
                tls.unwrap()
    except (ssl.SSLError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
