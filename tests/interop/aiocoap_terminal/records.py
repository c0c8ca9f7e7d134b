"""PROTOCOL.md section 7: TLS 1.3 records from the secrets of a hand-over."""

import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SUITES = {
    0x1301: (hashes.SHA256(), AESGCM, 16),
    0x1302: (hashes.SHA384(), AESGCM, 32),
    0x1303: (hashes.SHA256(), ChaCha20Poly1305, 32),
}
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
NEW_SESSION_TICKET, KEY_UPDATE = 4, 24
CLOSE_NOTIFY = bytes([1, 0])
LARGEST_FRAGMENT = 2**14


class Direction:
    """One direction's traffic secret and the number of its next record."""

    def __init__(self, suite, secret, sequence):
        self.hash, self.aead, self.key_length = SUITES[suite]
        self.set_secret(secret, sequence)

    def set_secret(self, secret, sequence):
        self.secret = secret
        self.key = self.aead(self.expand_label(b"key", self.key_length))
        self.iv = self.expand_label(b"iv", 12)
        self.sequence = sequence

    def update(self):
        self.set_secret(self.expand_label(b"traffic upd", self.hash.digest_size), 0)

    def expand_label(self, label, length):
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\x00"
        return HKDFExpand(self.hash, length, info).derive(self.secret)

    def nonce(self):
        number = self.sequence.to_bytes(12, "big")
        self.sequence += 1
        return bytes(a ^ b for a, b in zip(self.iv, number))

    def seal(self, content_type, content):
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(content) + 1 + 16)
        return header + self.key.encrypt(self.nonce(), content + bytes([content_type]), header)

    def open(self, record):
        """Content type and content; a forged record raises InvalidTag."""
        inner = self.key.decrypt(self.nonce(), record[5:], record[:5]).rstrip(b"\x00")
        return inner[-1], inner[:-1]


class Connection:
    """A TLS connection whose handshake somebody else has made, without its socket."""

    def __init__(self, suite, tx, rx, records_per_key):
        """`tx` and `rx`: secret and number of the first record."""
        self.tx = Direction(suite, *tx)
        self.rx = Direction(suite, *rx)
        self.records_per_key = records_per_key
        self.received = bytearray()
        self.handshake = bytearray()
        self.closed = False
        self.key_updates = 0

    def send(self, text):
        """Records for the socket."""
        out = bytearray()
        for at in range(0, len(text), LARGEST_FRAGMENT):
            if self.tx.sequence + 2 >= self.records_per_key:
                out += self.update_own_key(requested=False)
            out += self.tx.seal(APPLICATION_DATA, text[at : at + LARGEST_FRAGMENT])
        return bytes(out)

    def close(self):
        return self.tx.seal(ALERT, CLOSE_NOTIFY)

    def receive(self, ciphertext):
        """Text of the records complete by now, and what must be sent in answer."""
        self.received += ciphertext
        text, answer = bytearray(), bytearray()
        while len(self.received) >= 5 and not self.closed:
            end = 5 + int.from_bytes(self.received[3:5], "big")
            if len(self.received) < end:
                break
            content_type, content = self.rx.open(bytes(self.received[:end]))
            del self.received[:end]
            if content_type == APPLICATION_DATA:
                text += content
            elif content_type == HANDSHAKE:
                answer += self.take_handshake(content)
            elif content_type == ALERT and content == CLOSE_NOTIFY:
                self.closed = True
            else:
                raise ConnectionAbortedError(f"content type {content_type}: {content.hex()}")
        return bytes(text), bytes(answer)

    def take_handshake(self, content):
        self.handshake += content
        answer = b""
        while len(self.handshake) >= 4:
            end = 4 + int.from_bytes(self.handshake[1:4], "big")
            if len(self.handshake) < end:
                break
            kind, body = self.handshake[0], bytes(self.handshake[4:end])
            del self.handshake[:end]
            if kind == KEY_UPDATE:
                self.rx.update()
                self.key_updates += 1
                if body == b"\x01":
                    answer += self.update_own_key(requested=False)
            elif kind != NEW_SESSION_TICKET:
                raise ConnectionAbortedError(f"handshake message {kind}")
        return answer

    def update_own_key(self, requested):
        record = self.tx.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, requested]))
        self.tx.update()
        return record
