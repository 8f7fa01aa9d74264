#!/usr/bin/env python3
"""Calls the push API as Cloud Controller does, with gRPC's C core: its Ruby client is built on the same one.

usage: bulk_sync.py TARGET CA CERTIFICATE KEY COUNT

Sends a BulkSync of COUNT routes in chunks of 64 KiB and the empty one at the end, over mTLS and compressed, and checks
the size that is answered; then makes changes one by one, and lists what came of them. Prints `ok` at the end.
"""

import sys

import grpc

CHUNK = 65536
TIMEOUT = 30  # seconds, for every call
SERVICE = "/api.CloudControllerCopilot/"


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    """A length-delimited field; proto3 leaves empty ones out, but for messages."""
    content = value.encode() if isinstance(value, str) else value
    if content == b"" and isinstance(value, str):
        return b""
    return varint(number << 3 | 2) + varint(len(content)) + content


def number_field(number, value):
    return varint(number << 3) + varint(value) if value else b""


def fields(message):
    """The fields of a message as (number, value); values are integers or bytes."""

    def read_varint(at):
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(message):
        key, at = read_varint(at)
        value, at = read_varint(at)
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        yield key >> 3, value


def guid(kind, n):
    return "%08x-%04x-4000-8000-%012x" % (n, kind, n)


def route(n, host):
    return field(1, guid(1, n)) + field(2, host) + field(3, "/path" if n % 7 == 0 else "")


def mapping(n, weight):
    return field(1, guid(2, n)) + field(2, guid(1, n)) + number_field(3, weight)


def association(n):
    return field(1, guid(2, n)) + field(2, guid(2, n) + "-" + guid(3, n))


def host(n):
    return "app-%06d.apps.example.com" % n


def bulk_sync(count):
    numbers = range(count)
    return b"".join(
        [field(1, mapping(n, 1)) for n in numbers]
        + [field(2, route(n, host(n))) for n in numbers]
        + [field(3, association(n)) for n in numbers]
    )


def chunks(message):
    for start in range(0, len(message), CHUNK):
        yield field(1, message[start : start + CHUNK])
    yield b""


def main(target, ca, certificate, key, count):
    ca, certificate, key = (open(path, "rb").read() for path in (ca, certificate, key))
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    options = [("grpc.max_receive_message_length", -1)]
    channel = grpc.secure_channel(target, credentials, options, grpc.Compression.Gzip)

    def call(method, request=b""):
        return channel.unary_unary(SERVICE + method)(request, timeout=TIMEOUT)

    def listed():
        """Hosts by route guid."""
        entries = (dict(fields(entry)) for _, entry in fields(call("ListCfRoutes")))
        return {entry[1].decode(): entry[2].decode() for entry in entries}

    def sync(message):
        answer = channel.stream_unary(SERVICE + "BulkSync")(chunks(message), timeout=TIMEOUT)
        received = dict(fields(answer)).get(1, 0)
        assert received == len(message), "%d bytes received of %d" % (received, len(message))

    assert dict(fields(call("Health"))) == {1: 1}, "unhealthy"

    message = bulk_sync(count)
    sync(message)
    assert listed() == {guid(1, n): host(n) for n in range(count)}, "not what was synced"
    sync(message)

    call("UpsertRoute", field(1, route(count, "NEW.apps.example.com")))
    call("MapRoute", field(1, mapping(count, 128)))
    call("UpsertCapiDiegoProcessAssociation", field(1, association(count)))
    assert listed()[guid(1, count)] == "new.apps.example.com", "not upserted"
    for _ in range(2):
        call("UnmapRoute", field(1, mapping(count, 128)))
        call("DeleteCapiDiegoProcessAssociation", field(1, guid(2, count)))
        call("DeleteRoute", field(1, guid(1, count)))
    assert len(listed()) == count, "not deleted"

    try:
        call("MapRoute", field(1, mapping(0, 129)))
        raise AssertionError("a weight of 129 was accepted")
    except grpc.RpcError as refused:
        assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT, refused
    print("ok: %d bytes" % len(message))


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
