"""PROTOCOL.md section 6: the payloads, every one of them held against keyferry.cddl."""

import re

import cbor2
import pycddl

MALFORMED_REQUEST, UNSUPPORTED, ADDRESS_NOT_BOUND, CLOSED_BY_TERMINAL = 101, 102, 105, 106
CERTIFICATE_NAME_MISMATCH = 303
SHA384_SUITE = 0x1302


class Schemas:
    """The rules of keyferry.cddl, and how many messages were held against each."""

    def __init__(self, path):
        with open(path) as file:
            text = file.read()
        # Unknown keys are allowed for the future. Today's messages have none: a key that fits no other line
        # would slip through under this one.
        self.text = re.sub(r"^ *\* uint => any,\n", "", text, flags=re.MULTILINE)
        self.schemas = {}
        self.counts = {}

    def encode(self, rule, message):
        payload = cbor2.dumps(message)
        self.check(rule, payload)
        return payload

    def decode(self, rule, payload):
        self.check(rule, payload)
        return cbor2.loads(payload)

    def check(self, rule, payload):
        """Raises ValueError."""
        if rule not in self.schemas:
            self.schemas[rule] = pycddl.Schema(f"start = {rule}\n{self.text}")
        try:
            self.schemas[rule].validate_cbor(payload)
        except pycddl.ValidationError as error:
            raise ValueError(f"{payload.hex()} is no {rule}: {error}") from error
        self.counts[rule] = self.counts.get(rule, 0) + 1


def misfit(handover, request, wanted_name, own, peer):
    """The reason why a hand-over must be refused, or None. `own` and `peer` are address and port of the
    connected socket, the address in bytes."""
    if handover[7] != [*own, *peer]:
        return ADDRESS_NOT_BOUND
    suite = handover[2]
    secret_length = 48 if suite == SHA384_SUITE else 32
    if suite not in request.get(6, [0x1301, 0x1302, 0x1303]) or handover.get(12, 0x0304) != 0x0304:
        return UNSUPPORTED
    if len(handover[3]) != secret_length or len(handover[4]) != secret_length:
        return UNSUPPORTED
    if 10 in handover and handover[10] not in request.get(4, []):
        return UNSUPPORTED
    if handover[8] != [1, wanted_name]:
        return CERTIFICATE_NAME_MISMATCH
    return None
