"""Runs ON THE HOST (Python >= 3.6, standard library): fetch an OpenPGP key, compare its fingerprint, put it where rpm reads it.

argv: URL, wanted fingerprint (40 hex digits, "" = any), target file. Needs no gpg: a version 4 fingerprint is the SHA-1 of the key packet.
"""

import base64
import hashlib
import os
import sys
import urllib.request

URL, WANTED, TARGET = sys.argv[1:4]


def packets(data: bytes) -> "list[tuple[int, bytes]]":
    """(tag, body) of the packets in a binary key, old and new header format (RFC 4880, section 4.2)."""
    found, at = [], 0
    while at < len(data):
        head = data[at]
        at += 1
        if head & 0x40:
            tag, first = head & 0x3F, data[at]
            at += 1
            if first < 192:
                size = first
            elif first < 224:
                size, at = ((first - 192) << 8) + data[at] + 192, at + 1
            else:
                size, at = int.from_bytes(data[at : at + 4], "big"), at + 4
        else:
            tag, width = (head >> 2) & 0xF, 1 << (head & 3)
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        found.append((tag, data[at : at + size]))
        at += size
    return found


def dearmor(text: bytes) -> bytes:
    if b"-----BEGIN" not in text:
        return text
    body = text.split(b"-----BEGIN", 1)[1].split(b"-----END", 1)[0].replace(b"\r", b"").split(b"\n\n", 1)[1]
    return base64.b64decode(b"".join(line for line in body.split(b"\n") if not line.startswith(b"=")))


try:
    with urllib.request.urlopen(URL, timeout=60) as answer:  # noqa: S310 - file:// is allowed on purpose
        KEYFILE = answer.read(1 << 20)
except OSError as error:
    sys.exit(f"the signing key could not be fetched: {error}")
try:
    PRIMARY = [body for tag, body in packets(dearmor(KEYFILE)) if tag == 6]
except (IndexError, ValueError):
    PRIMARY = []
if not PRIMARY:
    sys.exit(f"not an OpenPGP key: {URL}")
PRINTS = [hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest() for body in PRIMARY]  # noqa: S324 - OpenPGP's own
if WANTED and PRINTS != [WANTED]:
    sys.exit(f"the signing key has the fingerprint {', '.join(PRINTS)}, wanted {WANTED}")
with open(TARGET + ".difyfleet-new", "wb") as out:
    out.write(KEYFILE)
os.chmod(TARGET + ".difyfleet-new", 0o644)
os.rename(TARGET + ".difyfleet-new", TARGET)
