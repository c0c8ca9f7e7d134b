"""Holds PROTOCOL.md's samples against keyferry.cddl, and its worked example against aiocoap's own derivation."""

import argparse
import re
from pathlib import Path
from types import SimpleNamespace

from epochs import EpochContext, id_context, next_key
from messages import Schemas


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument("cddl")
    options = parser.parse_args()
    values = {
        name: bytes.fromhex(value)
        for name, value in re.findall(r"^([a-z0-9 -]+) = h'([0-9a-f]*)'$", options.protocol.read_text(), re.MULTILINE)
    }
    check_samples(values, Schemas(options.cddl))
    check_keys(values)


# Samples whose name says more than the rule they are held against.
RULES = {
    "handover to a server": "handover",
    "kx start": "kx-start",
    "kx start of a server": "kx-start",
    "kx start answer": "kx-answer",
    "kx piece": "kx-piece",
    "kx answer": "kx-answer",
    "kx key": "kx-key",
    "failure with last words": "failure",
}


def check_samples(values, schemas):
    samples = [name.removeprefix("sample ") for name in values if name.startswith("sample ")]
    for name in samples:
        schemas.check(RULES.get(name, name), values[f"sample {name}"])
    print(len(samples), "samples are what the CDDL says")


def check_keys(values):
    ids = SimpleNamespace(sender_id=bytes.fromhex("1122"), gateway_id=b"\x00")
    key, number = values["channel key 0"], 0
    for epoch in (0, 1, 300):
        while number < epoch:
            key, number = next_key(key), number + 1
        context = EpochContext(ids, epoch, key, window_is_known=True)
        for name, derived in {
            "channel key": key,
            "id context": id_context(epoch),
            "terminal sender key": context.sender_key,
            "gateway sender key": context.recipient_key,
            "common iv": context.common_iv,
        }.items():
            wanted = values[f"{name} {epoch}"]
            assert derived == wanted, f"{name} {epoch}: {derived.hex()}, the document says {wanted.hex()}"
    print("keys are derived as the document says")


if __name__ == "__main__":
    main()
