"""PROTOCOL.md sections 1 and 3 to 5: provisioning, OSCORE contexts, epochs, sequence numbers."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import pathlib
import os
import secrets
import tomllib

from aiocoap import oscore
from aiocoap.numbers import UNAUTHORIZED

KEPT_READY = 8
RESERVED_AT_ONCE = 256
PREVIOUS_KEPT_SECONDS = 45


@dataclasses.dataclass
class Provisioning:
    """What the file of `keyferry terminal add --config-out` says."""

    gateway: str
    sender_id: bytes
    gateway_id: bytes
    key: bytes

    @classmethod
    def read(cls, path):
        with open(path, "rb") as file:
            fields = tomllib.load(file)
        key = fields.get("key")
        if key is None:
            key = (pathlib.Path(path).parent / fields["key_file"]).read_text().strip()
        return cls(
            gateway=fields["gateway"],
            sender_id=bytes.fromhex(fields["sender_id"]),
            gateway_id=bytes.fromhex(fields["gateway_id"]),
            key=bytes.fromhex(key),
        )


@dataclasses.dataclass
class Record:
    """What survives a restart."""

    epoch: int
    key: bytes
    previous: bytes | None = None
    reserved: int = 0

    @classmethod
    def read(cls, path):
        with open(path) as file:
            fields = json.load(file)
        previous = fields["previous"]
        return cls(
            epoch=fields["epoch"],
            key=bytes.fromhex(fields["key"]),
            previous=previous and bytes.fromhex(previous),
            reserved=fields["reserved"],
        )

    def write(self, path):
        """Durable when it returns: the old record or this one, never a mixture."""
        fields = dataclasses.asdict(self)
        for name in ("key", "previous"):
            fields[name] = fields[name] and fields[name].hex()
        new = path + ".new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def expand(key, info):
    """HKDF-Expand-SHA256 of 32 bytes: one block."""
    return hmac.digest(key, info + b"\x01", hashlib.sha256)


def next_key(key):
    return expand(key, b"keyferry next")


def id_context(epoch):
    return epoch.to_bytes(max(1, (epoch.bit_length() + 7) // 8), "big")


class EpochContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):
    """The OSCORE context of one epoch."""

    alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
    hashfun = oscore.hashfunctions["sha256"]

    def __init__(self, epochs, number, key, window_is_known):
        self.epochs = epochs
        self.number = number
        self.key = key
        self.sender_id = epochs.sender_id
        self.recipient_id = epochs.gateway_id
        self.id_context = id_context(number)
        self.echo_recovery = secrets.token_bytes(8)
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        if window_is_known:
            self.recipient_replay_window.initialize_empty()
        self.derive_keys(b"", expand(key, b"keyferry oscore"))

    def new_sequence_number(self):
        return self.epochs.new_sequence_number()

    def post_seqnoincrease(self):
        """The counter is not the context's: it runs on across epochs."""

    def unprotect(self, protected_message, request_id=None):
        try:
            message, request_id = super().unprotect(protected_message, request_id)
        except oscore.ReplayErrorWithEcho:
            self.epochs.counts["challenges_sent"] += 1
            raise
        if message.code == UNAUTHORIZED and message.opt.echo is not None:
            self.epochs.counts["challenges_answered"] += 1
        # Before aiocoap has a chance to answer.
        self.epochs.heard(self)
        return message, request_id


class Epochs:
    """The contexts of one terminal; aiocoap takes it for both of its credential stores."""

    def __init__(self, provisioning, path):
        self.sender_id = provisioning.sender_id
        self.gateway_id = provisioning.gateway_id
        self.path = path
        self.counts = dict.fromkeys(["followed", "started", "confirmed", "challenges_sent", "challenges_answered"], 0)
        self.contexts = {}
        if os.path.exists(path):
            self.record = Record.read(path)
            present = self._open(self.record.epoch, self.record.key, window_is_known=False)
            if self.record.previous:
                self._open(self.record.epoch - 1, self.record.previous, window_is_known=False)
        else:
            self.record = Record(epoch=0, key=provisioning.key)
            present = self._open(0, provisioning.key, window_is_known=True)
        self.next_number = self.record.reserved
        self._enter(present)

    def new_sequence_number(self):
        number = self.next_number
        if number >= oscore.MAX_SEQNO:
            raise oscore.ContextUnavailable("the terminal needs a new key")
        if number >= self.record.reserved:
            self._store(reserved=number + RESERVED_AT_ONCE)
        self.next_number += 1
        return number

    def start_next(self):
        """Enters the next epoch; False while the gateway has not been heard in the present one."""
        if self.record.previous is not None:
            return False
        following = self.contexts[id_context(self.record.epoch + 1)]
        self._store(epoch=following.number, key=following.key, previous=self.record.key)
        self._enter(following)
        self.counts["started"] += 1
        return True

    def heard(self, context):
        """An authentic and fresh message came under this context."""
        if context.number > self.record.epoch:
            self._forget_later(self.present)
            self._store(epoch=context.number, key=context.key, previous=None)
            self._enter(context)
            self.counts["followed"] += 1
        elif context is self.present and self.record.previous is not None:
            self._forget_later(self.contexts[id_context(context.number - 1)])
            self._store(previous=None)
            self.counts["confirmed"] += 1

    def credentials_from_request(self, _message):
        return self.present

    def find_oscore(self, unprotected):
        """Raises KeyError, as aiocoap wants it, for anybody else and for an epoch out of reach."""
        if unprotected.get(oscore.COSE_KID) != self.gateway_id:
            raise KeyError
        return self.contexts[unprotected.get(oscore.COSE_KID_CONTEXT)]

    def _enter(self, context):
        """aiocoap cannot derive on trial: the contexts ahead are kept ready."""
        self.present = context
        key = context.key
        for number in range(context.number + 1, context.number + KEPT_READY + 1):
            key = next_key(key)
            if id_context(number) not in self.contexts:
                self._open(number, key, window_is_known=True)
        for name, other in list(self.contexts.items()):
            if other.number < context.number - 1:
                del self.contexts[name]

    def _open(self, number, key, window_is_known):
        context = EpochContext(self, number, key, window_is_known)
        self.contexts[context.id_context] = context
        return context

    def _forget_later(self, context):
        asyncio.get_running_loop().call_later(PREVIOUS_KEPT_SECONDS, self.contexts.pop, context.id_context, None)

    def _store(self, **changes):
        record = dataclasses.replace(self.record, **changes)
        record.write(self.path)
        self.record = record
