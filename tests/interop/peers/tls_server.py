"""A web server on Python's ssl module that answers every request with what it saw of the connection."""

import argparse
import http.server
import ipaddress
import json
import socket
import ssl


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(
            {
                "client": self.client_address[0],
                "port": self.client_address[1],
                "path": self.path,
                "version": self.connection.version(),
                "cipher": self.connection.cipher()[0],
                "alpn": self.connection.selected_alpn_protocol(),
                "peer": (self.connection.getpeercert() or {}).get("subject"),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        """Gives the body back."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address, port, context):
        self.context = context
        if ipaddress.ip_address(address).version == 6:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), Handler)

    def finish_request(self, request, client_address):
        """Handshakes on the connection's own thread: one that stalls holds up nobody else."""
        try:
            request = self.context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            print("handshake failed:", error)
            return
        super().finish_request(request, client_address)
        try:
            request.settimeout(5)
            request.unwrap()
        except (ssl.SSLError, OSError):
            pass
        request.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chain", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--group", help="one curve by OpenSSL's name, for example secp384r1")
    parser.add_argument("--version", choices=["TLSv1.2", "TLSv1.3"])
    parser.add_argument("--clients", help="the anchor of the clients' certificates, which are demanded then")
    options = parser.parse_args()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.chain, options.key)
    context.set_alpn_protocols(["http/1.1"])
    if options.group:
        context.set_ecdh_curve(options.group)
    if options.version:
        version = ssl.TLSVersion[options.version.replace(".", "_")]
        context.minimum_version = context.maximum_version = version
    if options.clients:
        context.load_verify_locations(options.clients)
        context.verify_mode = ssl.CERT_REQUIRED
    Server(options.address, options.port, context).serve_forever()


if __name__ == "__main__":
    main()
