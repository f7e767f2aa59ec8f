#!/usr/bin/env python3
"""A small Standin client, written from PROTOCOL.md alone. Python 3.8, nothing else.

    python3 docs/client.py --seeds 127.0.0.1:7401 --keyspace 1 selftest
    python3 docs/client.py --seeds 127.0.0.1:7401 --keyspace 1 get user:1
    python3 docs/client.py --seeds 127.0.0.1:7401 map
    python3 docs/client.py vectors docs/vectors.json

It shows how the document is meant: one request at a time, blocking, no datagrams.
The packages `blake3` and `xxhash` are used if they are there; it has both functions in itself.
"""

import argparse
import collections
import ipaddress
import json
import os
import random
import re
import socket
import ssl
import struct
import sys
import time

try:
    import blake3 as _blake3
except ImportError:
    _blake3 = None
try:
    import xxhash as _xxhash
except ImportError:
    _xxhash = None

VERSION = 1
VALUE_BYTES_MAX = 16 << 20
NO_SERVER = 0xFFFF
ANY_SHARD = 0xFFFF
MASK = (1 << 64) - 1

OPCODES = ["HELLO", "GET", "PUT", "DELETE", "CAS", "TOUCH", "INVALIDATE", "PING", "MAP", "STATS",
           "SETTLE", "HANDBACK", "FLUSH", "MODIFY", "WALK", "HOT",
           "TRANSACT"]
STATUSES = [
    "OK", "NOT_FOUND", "VERSION_MISMATCH", "NOT_OWNER", "OVERLOADED", "ORIGIN_UNAVAILABLE",
    "ORIGIN_REJECTED", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNKNOWN_KEYSPACE",
    "UNKNOWN_OPCODE", "TOO_LARGE", "MALFORMED", "UNSUPPORTED_VERSION", "AUTH_REQUIRED",
    "AUTH_FAILED", "SHUTTING_DOWN", "NOT_SUPPORTED", "NO_SUCH_SHARD", "NOT_STORED",
    "NOT_A_NUMBER", "OUT_OF_RANGE", "NOT_PERMITTED",
]
KINDS = ["REPORT_FAILED", "REPORT_OK", "VERDICT", "RENEW", "GRANT", "ANNOUNCE", "ACK", "LEAVING",
         "GOSSIP", "ASK_PROBE", "PROBE_RESULT"]
FORWARDED_REQUEST, TTL_MINUTES, RETRY = 1, 2, 4
HIT, FILLED, STAND_IN, PROVISIONAL, FORWARDED, CACHED = 1, 2, 4, 8, 16, 32
FLAG_NAMES = ["HIT", "FILLED", "STAND_IN", "PROVISIONAL", "FORWARDED", "CACHED"]
ONLINE, OFFLINE, RETURNING, LEAVING, WAITING = 0, 1, 2, 3, 4
STATE_NAMES = ["online", "offline", "returning", "leaving", "waiting"]


class ProtocolError(Exception):
    """What arrived is not this protocol, or not this version of it."""


class Refused(Exception):
    """The cluster answered with an error status."""

    def __init__(self, response):
        text = response.value.decode("utf-8", "replace") if response.value else ""
        super().__init__(f"{response.name} {text}".strip())
        self.response = response


class Unreachable(Exception):
    """No server that may serve the request answers."""


class OutcomeUnknown(Exception):
    """A write was sent and not answered: it may or may not have happened. Read before deciding."""


class Attempt:
    """One operation, over all its sends."""

    def __init__(self, opcode, request_id, flags, fields, deadline):
        self.opcode, self.request_id, self.flags = opcode, request_id, flags
        self.fields, self.deadline = fields, deadline
        self.sends, self.said, self.may_have_happened = 0, [], False

    def lost(self, server, error, was_sent):
        """A send has failed without an answer."""
        self.said.append(f"server {server}: {error}")
        self.may_have_happened |= was_sent and self.opcode in ("PUT", "DELETE", "CAS", "MODIFY",
                                                                 "TRANSACT")


# --- XXH3-64 (appendix) ---------------------------------------------------------------

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def _r32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _r64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _swap(number, size):
    return int.from_bytes(number.to_bytes(size, "little"), "big")


def _fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def _rotl(number, by):
    return ((number << by) | (number >> (64 - by))) & MASK


def _avalanche(h):
    h &= MASK
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def _avalanche64(h):
    h &= MASK
    h ^= h >> 33
    h = h * P2 & MASK
    h ^= h >> 29
    h = h * P3 & MASK
    return h ^ h >> 32


def xxh3_64_pure(data, seed=0):
    """XXH3-64 with a seed, in plain Python."""
    s, n = SECRET, len(data)

    def mix16(p, q):
        low = _r64(data, p) ^ ((_r64(s, q) + seed) & MASK)
        high = _r64(data, p + 8) ^ ((_r64(s, q + 8) - seed) & MASK)
        return _fold(low, high)

    if n == 0:
        return _avalanche64(seed ^ _r64(s, 56) ^ _r64(s, 64))
    if n <= 3:
        c = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return _avalanche64(c ^ (((_r32(s, 0) ^ _r32(s, 4)) + seed) & MASK))
    if n <= 8:
        seed ^= _swap(seed & 0xFFFFFFFF, 4) << 32
        h = _r32(data, n - 4) + (_r32(data, 0) << 32)
        h ^= ((_r64(s, 8) ^ _r64(s, 16)) - seed) & MASK
        h ^= _rotl(h, 49) ^ _rotl(h, 24)
        h = h * 0x9FB21C651E98DF25 & MASK
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n <= 16:
        low = _r64(data, 0) ^ (((_r64(s, 24) ^ _r64(s, 32)) + seed) & MASK)
        high = _r64(data, n - 8) ^ (((_r64(s, 40) ^ _r64(s, 48)) - seed) & MASK)
        return _avalanche(n + _swap(low, 8) + high + _fold(low, high))
    a = n * P1
    if n <= 128:
        for i in range((n - 1) // 32, -1, -1):
            a += mix16(16 * i, 32 * i) + mix16(n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(a)
    if n <= 240:
        a = _avalanche(a + sum(mix16(16 * i, 16 * i) for i in range(8)))
        a += sum(mix16(16 * i, 16 * (i - 8) + 3) for i in range(8, n // 16))
        return _avalanche(a + mix16(n - 16, 119))

    k = b"".join(
        struct.pack("<QQ", (_r64(s, i) + seed) & MASK, (_r64(s, i + 8) - seed) & MASK)
        for i in range(0, 192, 16)
    )
    acc = [P32_3, P1, P2, P3, P4, P32_2, P5, P32_1]

    def stripe(p, q):
        for i in range(8):
            v = _r64(data, p + 8 * i)
            x = v ^ _r64(k, q + 8 * i)
            acc[i ^ 1] = (acc[i ^ 1] + v) & MASK
            acc[i] = (acc[i] + (x & 0xFFFFFFFF) * (x >> 32)) & MASK

    blocks = (n - 1) // 1024
    for b in range(blocks):
        for i in range(16):
            stripe(1024 * b + 64 * i, 8 * i)
        for i in range(8):
            acc[i] = (acc[i] ^ acc[i] >> 47 ^ _r64(k, 128 + 8 * i)) * P32_1 & MASK
    for i in range((n - 1 - 1024 * blocks) // 64):
        stripe(1024 * blocks + 64 * i, 8 * i)
    stripe(n - 64, 121)
    h = n * P1
    for i in range(4):
        h += _fold(acc[2 * i] ^ _r64(k, 11 + 16 * i), acc[2 * i + 1] ^ _r64(k, 19 + 16 * i))
    return _avalanche(h)


def xxh3_64(data, seed=0):
    if _xxhash is not None:
        return _xxhash.xxh3_64_intdigest(data, seed)
    return xxh3_64_pure(data, seed)


# --- Placement (section 7) ------------------------------------------------------------


def _crc16_table():
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x1021 if crc & 0x8000 else 0)
        yield crc & 0xFFFF


CRC16_TABLE = list(_crc16_table())


def crc16(data):
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ CRC16_TABLE[crc >> 8 ^ byte]
    return crc


def slot(name):
    """The slot of a key's name, as Redis Cluster has it."""
    begin = name.find(b"{")
    end = name.find(b"}", begin + 1) if begin >= 0 else -1
    return crc16(name[begin + 1:end] if end > begin + 1 else name) % 16384


XXH3, CRC16 = 0, 1
KEY_FORMS = ["exact", "ascii", "unicode", "uuid"]
UUID = re.compile(rb"\{?((?:[0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4})\}?")


def key_form(form, key):
    """The form of a key (section 7); the key itself if it has none."""
    if form == "ascii":
        return bytes(b + 32 if 65 <= b <= 90 else b for b in key)
    if form == "unicode":
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return key
        return "".join(c.lower()[0] for c in text).encode()
    if form == "uuid":
        found = UUID.fullmatch(key)
        if not found or key.startswith(b"{") != key.endswith(b"}"):
            return key
        digits = found[1].replace(b"-", b"").lower()
        return b"-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    return key


def score(partition, name, weight):
    return max(xxh3_64(name, partition * 64 + draw) for draw in range(weight))


def rank(partition, servers):
    """Ids in order; `servers` is a list of (name bytes, group, weight)."""
    scores = [score(partition, name, weight) for name, _, weight in servers]
    order = sorted(range(len(servers)), key=lambda i: (-scores[i], i))
    group = servers[order[0]][1]
    return [i for i in order if servers[i][1] == group]


# --- Frames (section 2) ---------------------------------------------------------------

REQUEST = struct.Struct("<BBBBBBHIIIHHQ")
RESPONSE = struct.Struct("<BBBBBBHIIIIQ")


def request_frame(opcode, request_id, keyspace=0, key=b"", value=b"", *, flags=0, map_tag=0,
                  deadline_ms=0, ttl=0, cas_version=0):
    head = REQUEST.pack(0x53, VERSION, OPCODES.index(opcode), flags, keyspace, 0, len(key),
                        len(value), request_id, map_tag, deadline_ms, ttl, cas_version)
    return head + key + value


ITEM_HEAD = struct.Struct("<IB3xQ")
MODIFY_HEAD = struct.Struct("<BBBBBBBBQQQQI4x")
EDITS = ["KEEP", "SET", "APPEND", "PREPEND", "OVERWRITE", "INCREMENT", "DECREMENT", "ADD",
         "ADD_FLOAT", "CLEAR", "MARK_STALE", "HERD", "DELETE"]
ANY, ABSENT, PRESENT = 0, 1, 2  # presence
KEYSPACES_TTL, KEEP_TTL, NO_TTL, TTL_MS = 0, 1, 2, 3  # ttl_kind
NOTHING, OLD, NEW, LENGTH = 0, 1, 2, 3  # gives


def modify_head(edit, *, number=0, presence=ANY, lifetime_test=0, tests=0, ttl_kind=KEEP_TTL,
                ttl_ms=0, gives=NOTHING, vivify=0, vivify_number=0, vivify_ttl_kind=0,
                vivify_ttl_ms=0, item_flags=0):
    """The operation of a MODIFY. The operand follows it."""
    return MODIFY_HEAD.pack(EDITS.index(edit), presence, lifetime_test, tests, ttl_kind, gives,
                            vivify, vivify_ttl_kind, number & MASK, ttl_ms, vivify_number,
                            vivify_ttl_ms, item_flags)


TRANSACT_HEAD = struct.Struct("<II")
CONDITION_HEAD = struct.Struct("<QH6x")
STEP_HEAD = struct.Struct("<IH2x")
RESULT_HEAD = struct.Struct("<QQIIBB6x")


def transact_value(conditions, steps):
    """The value of a TRANSACT. Conditions are (key, version), with the version 0 for no value; steps
    are (key, operation, operand), with the operation from `modify_head`."""
    parts = [TRANSACT_HEAD.pack(len(conditions), len(steps))]
    for key, version in conditions:
        parts += [CONDITION_HEAD.pack(version, len(key)), key]
    for key, operation, operand in steps:
        parts += [STEP_HEAD.pack(len(operand), len(key)), operation, key, operand]
    return b"".join(parts)


def transact_results(value):
    """The results in the answer to a TRANSACT: [(status, version, ttl_ms, item_flags, marks, value)]."""
    results, at = [], 0
    while at < len(value):
        if len(value) - at < RESULT_HEAD.size:
            raise ProtocolError("the last result of a TRANSACT is cut off")
        ttl_ms, version, length, item_flags, status, marks = RESULT_HEAD.unpack_from(value, at)
        at += RESULT_HEAD.size
        if len(value) - at < length:
            raise ProtocolError("the last result of a TRANSACT is cut off")
        results.append((status, version, ttl_ms, item_flags, marks, value[at:at + length]))
        at += length
    return results


WALK_HEAD = struct.Struct("<QIIIHB1x")
WALKED_HEAD = struct.Struct("<QII8x")
ANY_SLOT = 0xFFFF


def walk_value(start=0, position=0, *, looked_max=0xFFFFFFFF, found_max=0xFFFFFFFF, slot=ANY_SLOT,
               gives_keys=1, pattern=b""):
    return WALK_HEAD.pack(start, position, looked_max, found_max, slot, gives_keys) + pattern


def walked(value):
    """The answer to a WALK: (found, position, looked, [(keyspace, key), ...])."""
    found, position, looked = WALKED_HEAD.unpack_from(value)
    keys, at = [], WALKED_HEAD.size
    while at < len(value):
        keyspace, length = struct.unpack_from("<BH", value, at)
        key = value[at + 3:at + 3 + length]
        if len(key) < length:
            raise ProtocolError("the last key of a WALK is cut off")
        keys.append((keyspace, key))
        at += 3 + length
    return found, position, looked, keys


def ttl_field(seconds):
    """The `ttl` field and the flags for a lifetime in seconds."""
    if seconds <= 0xFFFF:
        return seconds, 0
    if seconds > 0xFFFF * 60:
        raise ValueError("a lifetime of %d s is over the limit of %d s (45 days)"
                         % (seconds, 0xFFFF * 60))
    return (seconds + 59) // 60, TTL_MINUTES


class Response(collections.namedtuple(
        "Response", "status flags opcode retry_after_ms request_id map_tag ttl_s cas_version value")):
    @property
    def name(self):
        return STATUSES[self.status]

    def flag_names(self):
        return "+".join(n for i, n in enumerate(FLAG_NAMES) if self.flags >> i & 1) or "-"


def response_head(head):
    """(fields without the value, value_len) of 32 bytes."""
    (magic, version, status, flags, opcode, _reserved, retry_after_ms, value_len, request_id,
     map_tag, ttl_s, cas_version) = RESPONSE.unpack(head)
    if magic != 0x73:
        raise ProtocolError(f"first byte {magic:#04x}: is this a Standin port?")
    if version != VERSION:
        raise ProtocolError(f"the server speaks version {version}, this client {VERSION}")
    if status >= len(STATUSES):
        raise ProtocolError(f"status {status} is not in version {VERSION}")
    if value_len > VALUE_BYTES_MAX:
        raise ProtocolError(f"a value of {value_len} bytes")
    fields = (status, flags, opcode, retry_after_ms, request_id, map_tag, ttl_s, cas_version)
    return fields, value_len


# --- HELLO (section 3) ----------------------------------------------------------------

HELLO = struct.Struct("<QQHB13x")
HELLO_REPLY = struct.Struct("<QHHHH")


def keyed_hash(key, data):
    if _blake3 is not None:
        return _blake3.blake3(data, key=key).digest()
    return blake3_keyed_pure(key, data)


def keyed_code(secret, purpose, data):
    return keyed_hash(secret, bytes([purpose]) + data)[:16]


def user_key(name, password):
    """The key of a user, from the name and the password."""
    return keyed_hash(b"standin: a user's name, password", name + b"\0" + password)


def user_verifier(key):
    """What servers keep of a user's key."""
    return keyed_hash(key, b"\x04")


def user_proof(key, nonce, body):
    """The proof by which a user answers a challenge."""
    mask = keyed_hash(user_verifier(key), b"\x05" + nonce + body)
    return bytes(a ^ b for a, b in zip(key, mask))


BLAKE3_IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
BLAKE3_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16


def clients_key(secret):
    """The key that clients have instead of the secret: all 32 bytes of the hash."""
    return keyed_hash(secret, b"\x03")


def blake3_compress(chaining, block, counter, flags):
    """The first 8 words of the compression; a block shorter than 64 bytes is padded with zeros."""
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    state = [*chaining, *BLAKE3_IV[:4], counter & 0xFFFFFFFF, counter >> 32, len(block), flags]

    def mix(a, b, c, d, x, y):
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
            state[d] ^= state[a]
            state[d] = (state[d] >> first | state[d] << 32 - first) & 0xFFFFFFFF
            state[c] = (state[c] + state[d]) & 0xFFFFFFFF
            state[b] ^= state[c]
            state[b] = (state[b] >> second | state[b] << 32 - second) & 0xFFFFFFFF

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, words[2 * i], words[2 * i + 1])
        for i in range(4):
            b, c, d = 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4
            mix(i, b, c, d, words[8 + 2 * i], words[9 + 2 * i])
        words = [words[i] for i in BLAKE3_ORDER]
    return [state[i] ^ state[i + 8] for i in range(8)]


def blake3_keyed_pure(key, data):
    """BLAKE3's keyed hash: chunks of 1,024 bytes are the leaves of a binary tree."""
    key_words = struct.unpack("<8I", key)

    def chunk(data, counter, root):
        blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
        chaining = key_words
        for i, block in enumerate(blocks):
            flags = KEYED_HASH | (CHUNK_START if i == 0 else 0)
            if i == len(blocks) - 1:
                flags |= CHUNK_END | root
            chaining = blake3_compress(chaining, block, counter, flags)
        return chaining

    def tree(data, counter, root):
        if len(data) <= 1024:
            return chunk(data, counter, root)
        # The left side is the largest power of two of chunks that leaves something on the right.
        chunks = 1 << ((len(data) - 1) // 1024).bit_length() - 1
        left = tree(data[:chunks * 1024], counter, 0)
        right = tree(data[chunks * 1024:], counter + chunks, 0)
        block = struct.pack("<16I", *left, *right)
        return blake3_compress(key_words, block, 0, KEYED_HASH | PARENT | root)

    return struct.pack("<8I", *tree(data, 0, ROOT))


# --- Archives (section 8) -------------------------------------------------------------


class Archive:
    """Reads an rkyv archive; every range is checked."""

    def __init__(self, data):
        self.data = data

    def root(self, size):
        if len(self.data) < size:
            raise ProtocolError(f"an archive of {len(self.data)} bytes has no root of {size}")
        return len(self.data) - size

    def unpack(self, layout, at):
        if at < 0 or at + struct.calcsize(layout) > len(self.data):
            raise ProtocolError("an archive points out of itself")
        return struct.unpack_from(layout, self.data, at)

    def list(self, at, size):
        """Positions of the elements of a list whose 8 bytes are at `at`."""
        offset, count = self.unpack("<iI", at)
        if count == 0:
            return range(0)
        start = at + offset
        if start < 0 or start + count * size > at:
            raise ProtocolError("a list lies outside of its archive")
        return range(start, start + count * size, size)

    def bytes(self, at):
        positions = self.list(at, 1)
        return bytes(self.data[positions.start:positions.stop])

    def string(self, at):
        (raw,) = self.unpack("8s", at)
        if raw[0] & 0xC0 != 0x80:
            return raw.split(b"\xff", 1)[0].decode()
        stored, offset = struct.unpack("<Ii", raw)
        length = (stored & 0x3F) | ((stored >> 8) << 6)
        start = at + offset
        if start < 0 or start + length > at:
            raise ProtocolError("a string lies outside of its archive")
        return bytes(self.data[start:start + length]).decode()


# --- The map (section 9) --------------------------------------------------------------

Server = collections.namedtuple(
    "Server", "name ip port group weight shards since boot_id state")
Owner = collections.namedtuple("Owner", "epoch home owner stand_in")


def _ip(raw):
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


def _shown(ip, port):
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Map:
    def __init__(self, data):
        archive = Archive(data)
        at = archive.root(87)
        self.epoch, self.topology_id, self.partitions = archive.unpack("<QQI", at)
        self.servers = []
        for server in archive.list(at + 20, 49):
            name = archive.bytes(server)
            raw, port, group, weight, shards, since, boot_id, state = archive.unpack(
                "<16sHHHHQQB", server + 8)
            self.servers.append(
                Server(name, _ip(raw), port, group, weight, shards, since, boot_id, state))
        self.owners = [Owner(*archive.unpack("<QHHH", p)) for p in archive.list(at + 28, 16)]
        self.name = archive.bytes(at + 36)
        raw, self.master_port = archive.unpack("<16sH", at + 44)
        self.master_ip = _ip(raw)
        self.hash_seeds = dict(archive.unpack("<BB", p) for p in archive.list(at + 62, 2))
        formed = [archive.unpack("<BB", p) for p in archive.list(at + 70, 2)]
        self.key_forms = {keyspace: KEY_FORMS[form] for keyspace, form in formed}
        (self.hash,) = archive.unpack("<B", at + 78)
        self.prefixes = {}
        for named in archive.list(at + 79, 9):
            self.prefixes[archive.unpack("<B", named)[0]] = archive.bytes(named + 1)
        if self.hash not in (XXH3, CRC16):
            raise ProtocolError("the map has a hash that this client does not know")
        if not self.servers or not 1 <= self.partitions == len(self.owners) <= 65536:
            raise ProtocolError("the map contradicts itself")
        if any(s.state > 4 or s.shards == 0 or not 1 <= s.weight <= 64 for s in self.servers):
            raise ProtocolError("a server in the map is out of range")

    @property
    def tag(self):
        return epoch_tag(self.epoch)

    def partition(self, keyspace, key, is_row=True):
        if is_row:
            key = key_form(self.key_forms.get(keyspace, "exact"), key)
        if self.hash == CRC16:
            return slot(self.prefixes.get(keyspace, b"") + key) * self.partitions // 16384
        return xxh3_64(key, self.hash_seeds.get(keyspace, keyspace)) % self.partitions

    def rank(self, partition):
        return rank(partition, [(s.name, s.group, s.weight) for s in self.servers])

    def candidates(self, partition):
        order = self.rank(partition)
        answering = [i for i in order if self.servers[i].state not in (OFFLINE, WAITING)]
        return answering + [i for i in order if i not in answering]

    def candidates_without_ranks(self, partition):
        """The order of section 9.3 for a client that does not compute ranks."""
        info = self.owners[partition]
        group = self.servers[info.home].group
        members = [i for i, s in enumerate(self.servers) if s.group == group]
        first = [info.owner]
        if info.owner == NO_SERVER and self.servers[info.home].state in (RETURNING, LEAVING):
            first = [info.home]
        order = [i for i in first + [info.stand_in] if i != NO_SERVER]
        answering = [i for i in members if self.servers[i].state not in (OFFLINE, WAITING)]
        return list(dict.fromkeys(order + answering + members))

    def derived_owner(self, partition):
        """What section 9.2 says that `owners` must hold."""
        order = self.rank(partition)
        up = [i for i in order if self.servers[i].state != OFFLINE]
        owner = up[0] if up and self.servers[up[0]].state == ONLINE else NO_SERVER
        others = [i for i in up[1:] if self.servers[i].state != WAITING]
        stand_in = others[0] if others else NO_SERVER
        counted = order[:order.index(up[0]) + 1] if up else order
        return Owner(max(self.servers[i].since for i in counted), order[0], owner, stand_in)

    def derived_topology_id(self):
        lines = [self.name.decode(), _shown(self.master_ip, self.master_port), str(self.partitions)]
        for s in self.servers:
            lines.append(f"{s.name.decode()} {s.group} {s.weight} {s.shards} {_shown(s.ip, s.port)}")
        lines += [f"{keyspace} {seed}" for keyspace, seed in self.hash_seeds.items()]
        lines += [f"{keyspace} {form}" for keyspace, form in self.key_forms.items()]
        if self.hash == CRC16:
            lines.append("crc16")
            lines += [f"{keyspace} {p.decode()}" for keyspace, p in self.prefixes.items()]
        return xxh3_64("".join(line + "\n" for line in lines).encode())


def epoch_tag(epoch):
    return (epoch >> 32 & 0xFF) << 24 | epoch & 0xFFFFFF


def tag_is_newer(a, b):
    return 0 < (a - b) % 2**32 < 2**31


def ping_reply(data):
    names = ("boot_id map_epoch drained_epoch usual_fetches_per_s loop_lag_us in_flight "
             "server shard origin_up")
    (at,) = (Archive(data).root(48),)
    return dict(zip(names.split(), Archive(data).unpack("<QQQQIIHHB", at)))


def stats_reply(data):
    archive = Archive(data)
    at = archive.root(40)
    boot_id, uptime_ms, map_epoch = archive.unpack("<QQQ", at + 8)
    counters = [(archive.string(p), archive.unpack("<Q", p + 8)[0])
                for p in archive.list(at + 32, 16)]
    return {"server": archive.string(at), "boot_id": boot_id, "uptime_ms": uptime_ms,
            "map_epoch": map_epoch, "counters": counters}


def hot_reply(data):
    archive = Archive(data)
    at = archive.root(16)
    keys = []
    for p in archive.list(at + 8, 40):
        numbers = archive.unpack("<QQQHHB", p + 8)
        names = "hash requests_per_s doubtful_per_s key_bytes shard keyspace"
        keys.append({"key": archive.bytes(p), **dict(zip(names.split(), numbers))})
    return {"requests_per_s": archive.unpack("<Q", at)[0], "keys": keys}


# --- Datagrams (section 12) -----------------------------------------------------------

DATAGRAM = struct.Struct("<BBBBHHQQQQQIHH")
NO_SECRET = b"standin cluster without a secret"
CLIENT = 0xFFFF  # the sender or recipient that is a client


def datagram_fields(data):
    """Fields of a datagram; the code is not looked at."""
    if not 72 <= len(data) <= 32768:
        raise ProtocolError("not a datagram")
    (magic, version, kind, reserved, sender, subject, topology_id, boot_id, sequence, epoch, nonce,
     arg, recipient, first) = DATAGRAM.unpack_from(data)
    if magic != 0x44 or version != VERSION or reserved or not 1 <= kind <= 11:
        raise ProtocolError("not a datagram of this version")
    if first and KINDS[kind - 1] not in ("ANNOUNCE", "GOSSIP"):
        raise ProtocolError("a part of what has none")
    states, probed = [], None
    if KINDS[kind - 1] == "PROBE_RESULT" and len(data) == 88:
        probed = struct.unpack_from("<QQ", data, 56)
    elif KINDS[kind - 1] in ("VERDICT", "ANNOUNCE", "GOSSIP"):
        archive = Archive(data[56:-16])
        states = [archive.unpack("<QQB", p) for p in archive.list(archive.root(8), 17)]
    elif len(data) != 72:
        raise ProtocolError("a body that the kind does not have")
    return {"kind": kind, "sender": sender, "recipient": recipient, "subject": subject, "topology_id": topology_id,
            "boot_id": boot_id, "sequence": sequence, "epoch": epoch, "nonce": nonce, "arg": arg,
            "first": first, "states": states, "probed": probed}


class ReplayWindow:
    def __init__(self):
        self.highest, self.seen = 0, set()

    def accept(self, sequence):
        if sequence == 0 or self.highest - sequence >= 64 or sequence in self.seen:
            return False
        self.highest = max(self.highest, sequence)
        self.seen = {n for n in self.seen | {sequence} if self.highest - n < 64}
        return True


# --- Connections and routing (sections 3, 6, 11) --------------------------------------


class Connection:
    """One connection to one shard; one request at a time.

    A server holds requests on purpose, for a second and more. So what counts is not how long an
    answer takes, but how long the connection is silent: after half the attempt timeout a PING is
    sent, which a living shard answers at once, and after the whole of it the send has failed.
    """

    def __init__(self, client, address, shard):
        self.client, self.address = client, address
        self.is_ready = self.is_probed = False
        self.socket = socket.create_connection(address, timeout=client.attempt_timeout_s)
        if client.tls is not None:
            self.socket = client.tls.wrap_socket(self.socket, server_hostname=client.tls_name or address[0])
        self.socket.settimeout(client.attempt_timeout_s / 2)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.say_hello(client, shard)
        except BaseException:
            self.close()
            raise
        self.is_ready = True

    def say_hello(self, client, shard):
        body = HELLO.pack(client.client_id, 0, shard, 0)
        reply = self.ask(client.next_id(), "HELLO", value=body)
        if reply.name == "AUTH_REQUIRED":
            if client.user is not None:
                name, key = client.user
                proof = user_proof(key, reply.value, body) + name
            elif client.secret is not None:
                proof = keyed_code(client.secret, 2, reply.value + body)
            else:
                raise ProtocolError("the cluster has a secret: give --secret, or --user")
            reply = self.ask(client.next_id(), "HELLO", value=body + proof)
        if reply.name != "OK":
            raise Refused(reply)
        if len(reply.value) != HELLO_REPLY.size:
            raise ProtocolError("a hello reply of another size")
        self.cluster_id, self.server, self.shards, self.shard, _ = HELLO_REPLY.unpack(reply.value)

    def ask(self, request_id, opcode, patience_s=None, **fields):
        """The answer. A living server that has none after `patience_s` has failed the send."""
        patience_s = self.client.operation_timeout_s / 2 if patience_s is None else patience_s
        until = time.monotonic() + patience_s
        self.is_probed = False
        self.socket.sendall(request_frame(opcode, request_id, **fields))
        while True:
            head, value_len = response_head(self.read(32, until))
            response = Response(*head, self.read(value_len, until))
            # What else arrives answers a PING, or a request that was given up.
            if response.request_id == request_id:
                return response

    def read(self, size, until):
        parts = bytearray()
        while len(parts) < size:
            if time.monotonic() > until:
                raise socket.timeout("alive, but it holds the request for too long")
            try:
                part = self.socket.recv(size - len(parts))
            except socket.timeout:
                self.was_silent()
                continue
            if not part:
                raise ConnectionError("the connection was closed")
            self.is_probed = False
            parts += part
        return bytes(parts)

    def was_silent(self):
        """Half the attempt timeout has passed without a byte."""
        if self.is_probed:
            raise socket.timeout("silent")
        self.is_probed = True
        if self.is_ready:
            self.client.tell(f"server {self.server} is silent: PING")
            self.socket.sendall(request_frame("PING", self.client.next_id()))

    def close(self):
        self.socket.close()


class Client:
    """Routes by the map, and keeps trying the candidates until an operation's time is over."""

    def __init__(self, seeds, secret=None, attempts=2, attempt_timeout_s=0.1,
                 operation_timeout_s=6.0, hold_s=2.0, tell=lambda text: None, tls=None, tls_name=None,
                 user=None):
        self.tls, self.tls_name = tls, tls_name
        self.seeds, self.secret, self.user, self.tell = seeds, secret, user, tell
        self.attempts, self.attempt_timeout_s, self.hold_s = attempts, attempt_timeout_s, hold_s
        self.operation_timeout_s = operation_timeout_s
        self.client_id = random.SystemRandom().getrandbits(64)
        self.request_id = 0
        self.map = None
        self.asked_for_tag = 0
        self.connections = {}
        self.failover_until = {}

    def next_id(self):
        self.request_id = (self.request_id + 1) % 2**32
        return self.request_id

    def hello(self):
        """Connects to the first seed that answers."""
        said = []
        for address in self.seeds:
            try:
                return Connection(self, address, ANY_SHARD)
            except (OSError, Refused, ProtocolError) as error:
                said.append(f"{address[0]}:{address[1]}: {error}")
        raise Unreachable("; ".join(said) or "no seeds")

    def fetch_map(self, connection=None):
        """Fetches a map over the connection, and adopts it if it is newer."""
        own = connection or self.hello()
        try:
            response = own.ask(self.next_id(), "MAP")
        finally:
            if connection is None:
                own.close()
        if response.name != "OK":
            raise Refused(response)
        newer = Map(response.value)
        if self.map is None or newer.epoch > self.map.epoch:
            if self.map is not None:
                for i, server in enumerate(newer.servers):
                    if server.state == ONLINE and server.since > self.map.epoch:
                        self.failover_until.pop(i, None)
            self.map = newer
            self.tell(f"map of epoch {newer.epoch >> 32}.{newer.epoch & 0xFFFFFFFF}")
        return self.map

    def request(self, opcode, keyspace, key, value=b"", ttl_s=0, cas_version=0):
        """The answer of a candidate, and the candidate's id."""
        deadline = time.monotonic() + self.operation_timeout_s
        if self.map is None:
            self.fetch_map()
        ttl, flags = ttl_field(ttl_s)
        fields = {"keyspace": keyspace, "key": key, "value": value, "ttl": ttl,
                  "cas_version": cas_version}
        attempt = Attempt(opcode, self.next_id(), flags, fields, deadline)
        while time.monotonic() < deadline:
            answer = self.go_round(attempt)
            if answer is not None:
                return answer
            # All candidates have been asked: start again, after a pause.
            time.sleep(self.attempt_timeout_s / 2 * random.uniform(1, 1.5))
        said = "; ".join(list(dict.fromkeys(attempt.said))[-4:])
        if attempt.may_have_happened:
            raise OutcomeUnknown(said)
        raise Unreachable(said)

    def go_round(self, attempt):
        """Asks each candidate once; `None` if none of them has served it."""
        tried = []
        while True:
            # Computed again for each: a newer map may have come with an answer.
            partition = self.map.partition(
                attempt.fields["keyspace"], attempt.fields["key"], attempt.opcode != "FLUSH")
            now = time.monotonic()
            order = [i for i in self.map.candidates(partition) if i not in tried]
            # Servers in failover mode come last. If nobody else is left, they are asked as well.
            order.sort(key=lambda i: self.failover_until.get(i, 0) > now)
            if not order or now >= attempt.deadline:
                return None
            tried.append(order[0])
            response = self.ask_server(order[0], partition, attempt)
            if response is not None:
                return response, order[0]

    def ask_server(self, server, partition, attempt):
        """The candidate's answer, or `None` to try the next candidate."""
        failures = overloads = 0
        while failures < self.attempts:
            left_s = attempt.deadline - time.monotonic()
            if left_s <= 0:
                return None
            was_sent = False
            try:
                connection = self.connect(server, partition)
                attempt.sends, was_sent = attempt.sends + 1, True
                response = connection.ask(
                    attempt.request_id, attempt.opcode, min(left_s, self.operation_timeout_s / 2),
                    flags=attempt.flags | (RETRY if attempt.sends > 1 else 0),
                    map_tag=self.map.tag, deadline_ms=min(int(left_s * 1000) + 1, 0xFFFF),
                    **attempt.fields)
            except (OSError, ProtocolError) as error:
                # A late answer must not be taken for another's: start afresh.
                self.disconnect(server, partition)
                failures += 1
                attempt.lost(server, error, was_sent)
                self.tell(f"server {server}, send {failures} of {self.attempts} failed: {error}")
                if isinstance(error, ConnectionRefusedError):
                    break  # Nobody is there: a second try would be refused as well.
                continue
            except Refused as error:
                if error.response.name not in ("SHUTTING_DOWN", "UNAVAILABLE", "OVERLOADED"):
                    raise
                attempt.said.append(f"server {server}: {error}")
                self.tell(f"server {server} answers HELLO with {error}")
                return None
            self.failover_until.pop(server, None)
            self.heed_tag(connection, response.map_tag)
            if response.name == "OVERLOADED" and overloads < self.attempts:
                overloads += 1
                time.sleep(response.retry_after_ms / 1000 * random.uniform(1, 1.5))
                continue
            if response.name in ("SHUTTING_DOWN", "UNAVAILABLE", "NOT_OWNER"):
                attempt.said.append(f"server {server}: {response.name}")
                self.tell(f"server {server} answers {response.name}")
                return None
            if attempt.may_have_happened and response.name not in ("OK", "NOT_FOUND"):
                # The answer is about this send; an earlier one may have taken effect.
                raise OutcomeUnknown(f"server {server}: {response.name}")
            self.tell(f"server {server} answers {response.name}")
            return response
        self.failover_until[server] = time.monotonic() + self.hold_s * random.uniform(0.75, 1.25)
        self.tell(f"failover mode for server {server}")
        return None

    def heed_tag(self, connection, tag):
        """Fetches the map from a server that has a newer one, once per tag."""
        if not tag_is_newer(tag, self.map.tag) or tag == self.asked_for_tag:
            return
        self.asked_for_tag = tag
        try:
            self.fetch_map(connection)
        except (OSError, ProtocolError, Refused):
            pass  # The old map goes on working: servers send requests on.

    def connect(self, server, partition):
        info = self.map.servers[server]
        where = (server, partition % info.shards)
        if where not in self.connections:
            self.connections[where] = Connection(self, (info.ip, info.port), where[1])
        return self.connections[where]

    def disconnect(self, server, partition):
        where = (server, partition % self.map.servers[server].shards)
        connection = self.connections.pop(where, None)
        if connection is not None:
            connection.close()

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()

    def get(self, keyspace, key):
        """(value, version); the value is None if there is no row."""
        response, _ = self.request("GET", keyspace, key)
        if response.name == "NOT_FOUND":
            return None, response.cas_version
        if response.name != "OK":
            raise Refused(response)
        return response.value, response.cas_version

    def put(self, keyspace, key, value, ttl_s=0):
        """The new version; 0 if the value was not kept in the cache. Refused (NOT_STORED) if the
        keyspace's statement changed no row."""
        response, _ = self.request("PUT", keyspace, key, value, ttl_s)
        if response.name != "OK":
            raise Refused(response)
        return response.cas_version

    def cas(self, keyspace, key, value, version, ttl_s=0):
        """(written?, current version)."""
        response, _ = self.request("CAS", keyspace, key, value, ttl_s, version)
        if response.name not in ("OK", "VERSION_MISMATCH"):
            raise Refused(response)
        return response.name == "OK", response.cas_version

    def modify(self, keyspace, key, edit, operand=b"", *, version=0, **fields):
        """The response to a MODIFY; `fields` are those of `modify_head`. Answers that say that a
        condition does not hold, or that there is no value, are no errors."""
        value = modify_head(edit, **fields) + operand
        response, _ = self.request("MODIFY", keyspace, key, value, cas_version=version)
        if response.name not in ("OK", "NOT_FOUND", "NOT_STORED", "VERSION_MISMATCH"):
            raise Refused(response)
        return response

    def transact(self, keyspace, conditions, steps):
        """The results of a TRANSACT, or None if a condition does not hold. All keys must be in one
        partition of a keyspace without a database."""
        keys = [key for key, _ in conditions] + [key for key, _, _ in steps]
        value = transact_value(conditions, steps)
        response, _ = self.request("TRANSACT", keyspace, keys[0], value)
        if response.name == "VERSION_MISMATCH":
            return None
        if response.name != "OK":
            raise Refused(response)
        return transact_results(response.value)

    def flush(self, keyspace):
        """Drops a keyspace from all caches: one FLUSH for each partition."""
        partitions = self.map.partitions
        keys, number = {}, 0
        while len(keys) < partitions:
            key = str(number).encode()
            keys.setdefault(self.map.partition(keyspace, key, is_row=False), key)
            number += 1
        for key in keys.values():
            response, _ = self.request("FLUSH", keyspace, key)
            if response.name != "OK":
                raise Refused(response)

    def delete(self, keyspace, key):
        """Whether there was a row."""
        response, _ = self.request("DELETE", keyspace, key)
        if response.name not in ("OK", "NOT_FOUND"):
            raise Refused(response)
        return response.name == "OK"


# --- selftest -------------------------------------------------------------------------


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def selftest(client, keyspace, key, count):
    """HELLO, MAP, PUT, GET, CAS, DELETE against a live cluster."""
    connection = client.hello()
    who = "the master" if connection.server == 0xFFFF else f"server {connection.server}"
    print(f"hello: {who} at {connection.address[0]}:{connection.address[1]}, "
          f"{connection.shards} shards, this is shard {connection.shard}")
    the_map = client.fetch_map(connection)
    ping = connection.ask(client.next_id(), "PING")
    stats = connection.ask(client.next_id(), "STATS")
    connection.close()

    check(connection.cluster_id == xxh3_64(the_map.name), "cluster_id is not that of the name")
    check(the_map.topology_id == the_map.derived_topology_id(), "topology_id does not follow")
    for partition in range(0, the_map.partitions, max(1, the_map.partitions // 64)):
        check(the_map.owners[partition] == the_map.derived_owner(partition),
              f"the owner of partition {partition} does not follow from the states")
    print(f"map: {the_map.name.decode()}, epoch {the_map.epoch >> 32}.{the_map.epoch & 0xFFFFFFFF}, "
          f"{the_map.partitions} partitions; owners are as computed here")
    for i, s in enumerate(the_map.servers):
        owned = sum(o.owner == i for o in the_map.owners)
        print(f"  {i} {s.name.decode()} {_shown(s.ip, s.port)} group {s.group} weight {s.weight} "
              f"shards {s.shards} {STATE_NAMES[s.state]}, owns {owned}")
    check(ping.name == "OK", f"PING says {ping.name}")
    print(f"ping: {ping_reply(ping.value)}")
    check(stats.name == "OK", f"STATS says {stats.name}")
    print(f"stats: {len(stats_reply(stats.value)['counters'])} counters")

    keys = [key if i == 0 else key + str(i).encode() for i in range(count)]
    for k in keys:
        roundtrip(client, keyspace, k, the_map, k == keys[0])
    print(f"{len(keys)} keys written, read, compared-and-set and deleted; all answers right")


def roundtrip(client, keyspace, key, the_map, talk):
    def ask(opcode, expected, *rest, **more):
        response, server = client.request(opcode, keyspace, key, *rest, **more)
        if talk:
            print(f"  {opcode:6} → server {server}: {response.name} {response.value[:40]!r} "
                  f"version {response.cas_version:#x} ttl {response.ttl_s} s {response.flag_names()}")
        check(response.name == expected, f"{opcode} of {key!r}: {response.name}, not {expected}; "
                                         f"{response.value.decode('utf-8', 'replace')}")
        calm = client.map.epoch == the_map.epoch and not client.failover_until
        check(not calm or not response.flags & FORWARDED, f"{opcode} of {key!r} went to the wrong server")
        return response

    partition = the_map.partition(keyspace, key)
    if talk:
        owner = the_map.owners[partition]
        print(f"key {key.decode()}: partition {partition}, home {owner.home}, owner {owner.owner}, "
              f"ask {the_map.candidates(partition)}")
    ask("PUT", "OK", b"one", ttl_s=60)
    read = ask("GET", "OK")
    check(read.value == b"one", f"GET of {key!r} after PUT: {read.value!r}")
    check(read.flags & (HIT | FILLED), f"GET of {key!r} says neither HIT nor FILLED")
    check(read.cas_version != 0, f"GET of {key!r} has no version: is the cluster in the middle of a change?")
    written = ask("CAS", "OK", b"two", cas_version=read.cas_version)
    check(written.cas_version != read.cas_version, "CAS did not change the version")
    check(ask("GET", "OK").value == b"two", f"GET of {key!r} after CAS")
    ask("CAS", "VERSION_MISMATCH", b"three", cas_version=read.cas_version)
    check(ask("GET", "OK").value == b"two", f"GET of {key!r} after a CAS that had to fail")
    ask("DELETE", "OK")
    ask("GET", "NOT_FOUND")
    add = modify_head("SET", presence=ABSENT, ttl_kind=KEYSPACES_TTL)
    ask("MODIFY", "OK", add + b"41")
    ask("MODIFY", "NOT_STORED", add + b"0")
    answer = ask("MODIFY", "OK", modify_head("INCREMENT", number=1, gives=NEW)).value
    check(answer == b"42", f"41 + 1 of {key!r}: {answer!r}")
    check(ask("MODIFY", "OK", modify_head("DELETE", gives=OLD)).value == b"42", "the deleted value")
    ask("GET", "NOT_FOUND")


# --- vectors --------------------------------------------------------------------------


def number(text):
    return int(text, 16)


def check_vectors(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    check(vectors["protocol_version"] == VERSION, "vectors of another version")
    checked = []
    for section, check_section in SECTIONS.items():
        count = check_section(vectors[section])
        checked.append(f"{section} {count}")
    unknown = set(vectors) - set(SECTIONS) - {"about", "protocol_version"}
    check(not unknown, f"sections that this client does not know: {unknown}")
    print("vectors agree: " + ", ".join(checked))


def vectors_hash(items):
    count = 0
    for item in items:
        key = bytes.fromhex(item["key"])
        check(len(key) == item["key_bytes"], "key_bytes")
        for h in item["hashes"]:
            wanted = number(h["hash"])
            check(xxh3_64_pure(key, h["keyspace"]) == wanted, f"hash of {len(key)} bytes")
            check(xxh3_64(key, h["keyspace"]) == wanted, f"xxhash of {len(key)} bytes")
            check(wanted % 1024 == h["partition_of_1024"], "partition")
            check(wanted % 1000 == h["partition_of_1000"], "partition")
            check(wanted % 1024 % 3 == h["shard_of_3"], "shard")
            count += 1
    return count


def vectors_slot(items):
    for item in items:
        got = slot(bytes.fromhex(item["name"]))
        check(got == item["slot"], f"slot of {item['name']}")
        for partitions in (1024, 1000, 16384):
            partition = got * partitions // 16384
            check(partition == item[f"partition_of_{partitions}"], f"partition of {item['name']}")
    return len(items)


def vectors_key_form(items):
    for item in items:
        key = bytes.fromhex(item["key"])
        for form in KEY_FORMS:
            # Without a form a key is hashed as it is.
            wanted = bytes.fromhex(item[form]) if item[form] is not None else key
            check(key_form(form, key) == wanted, f"form {form} of {key}")
    return len(items)


def vectors_cluster_id(items):
    for item in items:
        check(xxh3_64(item["name"].encode()) == number(item["cluster_id"]), item["name"])
    return len(items)


def vectors_placement(items):
    servers = [(s["name"].encode(), s["group"], s["weight"]) for s in items[0]["servers"]]
    for item in items[1:]:
        p = item["partition"]
        check([score(p, n, w) for n, _, w in servers] == [number(s) for s in item["scores"]],
              f"scores of partition {p}")
        check(rank(p, servers) == item["rank"], f"rank of partition {p}")
    return len(items) - 1


def vectors_epoch_tag(items):
    for item in items:
        epoch = item["term"] << 32 | item["counter"]
        check(epoch == number(item["epoch"]) and epoch_tag(epoch) == item["tag"], str(item))
    return len(items)


def vectors_tag_is_newer(items):
    for item in items:
        check(tag_is_newer(item["a"], item["b"]) == item["a_is_newer"], str(item))
    return len(items)


def vectors_ttl(items):
    for item in items:
        ttl, flags = ttl_field(item["asked_s"])
        check((ttl, flags == TTL_MINUTES) == (item["ttl"], item["minutes"]), str(item))
        check(ttl * (60 if flags else 1) == item["means_s"], str(item))
    return len(items)


def vectors_request(items):
    for v in items:
        check(OPCODES[v["opcode"]] == v["name"], v["name"])
        frame = request_frame(
            v["name"], v["request_id"], v["keyspace"], bytes.fromhex(v["key"]),
            bytes.fromhex(v["value"]), flags=v["flags"], map_tag=v["map_epoch"],
            deadline_ms=v["deadline_ms"], ttl=v["ttl"], cas_version=number(v["cas_version"]))
        check(frame.hex() == v["hex"], f"request {v['name']}")
    return len(items)


def vectors_item_head(items):
    for v in items:
        head = ITEM_HEAD.pack(v["item_flags"], v["marks"], number(v["ttl_ms"]))
        check(head.hex() == v["hex"], f"item head {v}")
    return len(items)


def vectors_modify_head(items):
    for v in items:
        wide = {name: number(v[name]) for name in ("number", "ttl_ms", "vivify_number",
                                                   "vivify_ttl_ms")}
        narrow = {name: v[name] for name in ("presence", "lifetime_test", "tests", "ttl_kind",
                                             "gives", "vivify", "vivify_ttl_kind", "item_flags")}
        head = modify_head(EDITS[v["edit"]], **wide, **narrow)
        check(head.hex() == v["hex"], f"modify head {v['name']}")
    return len(items)


def vectors_transact(items):
    for v in items:
        conditions = [(bytes.fromhex(c["key"]), number(c["version"])) for c in v["conditions"]]
        steps = [tuple(bytes.fromhex(s[part]) for part in ("key", "operation", "operand"))
                 for s in v["steps"]]
        check(transact_value(conditions, steps).hex() == v["hex"], f"transact {v}")
    return len(items)


def vectors_transact_results(items):
    for v in items:
        results = [(r["status"], number(r["version"]), number(r["ttl_ms"]), r["item_flags"],
                    r["marks"], bytes.fromhex(r["value"])) for r in v["results"]]
        check(transact_results(bytes.fromhex(v["hex"])) == results, f"transact results {v}")
    return len(items)


def vectors_walk(items):
    for v in items:
        value = walk_value(number(v["start"]), v["position"], looked_max=v["looked_max"],
                           found_max=v["found_max"], slot=v["slot"], gives_keys=v["gives_keys"],
                           pattern=bytes.fromhex(v["pattern"]))
        check(value.hex() == v["hex"], f"walk {v}")
    return len(items)


def vectors_walked(items):
    for v in items:
        keys = [(key["keyspace"], bytes.fromhex(key["key"])) for key in v["keys"]]
        read = walked(bytes.fromhex(v["hex"]))
        check(read == (number(v["found"]), v["position"], v["looked"], keys), f"walked {v}")
    return len(items)


def check_response(v):
    frame = bytes.fromhex(v["hex"])
    head, value_len = response_head(frame[:32])
    response = Response(*head, frame[32:])
    check(value_len == len(response.value), "value_len")
    wanted = Response(v["status"], v["flags"], v["opcode"], v["retry_after_ms"], v["request_id"],
                      v["map_epoch"], v["ttl_s"], number(v["cas_version"]), bytes.fromhex(v["value"]))
    check(response == wanted and response.name == v["name"], f"response {v['name']}")
    return response


def vectors_response(items):
    for v in items:
        check_response(v)
    return len(items)


def vectors_hello(items):
    for v in items:
        if "client_id" in v:
            body = HELLO.pack(number(v["client_id"]), number(v["cluster_id"]), v["shard"], v["role"])
            check(body.hex() == v["body"], "hello body")
        elif "reply" in v:
            wanted = (number(v["reply_cluster_id"]), v["server"], v["shards"], v["shard"], 0)
            check(HELLO_REPLY.unpack(bytes.fromhex(v["reply"])) == wanted, "hello reply")
        elif "user" in v:
            name, nonce, body = v["user"].encode(), bytes.fromhex(v["nonce"]), bytes.fromhex(v["body"])
            key = user_key(name, v["password"].encode())
            check(key.hex() == v["key"], "user's key")
            check(user_verifier(key).hex() == v["verifier"], "user's verifier")
            check(user_proof(key, nonce, body).hex() == v["proof"], "user's proof")
            check(v["value_of_second_hello"] == v["body"] + v["proof"] + name.hex(), "second hello of a user")
        else:
            nonce, body = bytes.fromhex(v["nonce"]), bytes.fromhex(v["body"])
            check(check_response(v["challenge"]).value == nonce, "challenge")
            check(v["value_of_second_hello"] == v["body"] + v["proof"], "second hello")
            vectors_request([v["second_hello"]])
            proof = keyed_code(bytes.fromhex(v["secret"]), 2, nonce + body)
            check(proof.hex() == v["proof"], "proof")
    return len(items)


def vectors_ping_reply(items):
    for v in items:
        wanted = {k: number(w) if isinstance(w, str) else w for k, w in v.items() if k != "hex"}
        check(ping_reply(bytes.fromhex(v["hex"])) == wanted, "ping reply")
    return len(items)


def vectors_stats_reply(items):
    for v in items:
        wanted = {"server": v["server"], "boot_id": number(v["boot_id"]),
                  "uptime_ms": number(v["uptime_ms"]), "map_epoch": number(v["map_epoch"]),
                  "counters": [(c["name"], number(c["value"])) for c in v["counters"]]}
        check(stats_reply(bytes.fromhex(v["hex"])) == wanted, "stats reply")
    return len(items)


def vectors_hot_reply(items):
    for v in items:
        keys = [{**k, "key": bytes.fromhex(k["key"]), "hash": number(k["hash"]),
                 "requests_per_s": number(k["requests_per_s"]),
                 "doubtful_per_s": number(k["doubtful_per_s"])} for k in v["keys"]]
        wanted = {"requests_per_s": number(v["requests_per_s"]), "keys": keys}
        check(hot_reply(bytes.fromhex(v["hex"])) == wanted, "hot reply")
    return len(items)


def vectors_map(items):
    for v in items:
        m = Map(bytes.fromhex(v["hex"]))
        check((m.epoch, m.topology_id, m.partitions, m.name.decode(), m.master_ip, m.master_port)
              == (number(v["epoch"]), number(v["topology_id"]), v["partitions"], v["name"],
                  v["master_ip"], v["master_port"]), "map root")
        check(m.derived_topology_id() == m.topology_id, "topology_id")
        wanted = [Server(s["name"].encode(), s["ip"], s["port"], s["group"], s["weight"], s["shards"],
                         number(s["since"]), number(s["boot_id"]), s["state"]) for s in v["servers"]]
        check(m.servers == wanted, "map servers")
        wanted = {b["keyspace"]: b["hash_seed"] for b in v["bound"]}
        check(m.hash_seeds == wanted, "bound keyspaces")
        wanted = {f["keyspace"]: f["form"] for f in v["formed"]}
        check(m.key_forms == wanted, "forms of keys")
        check(["xxh3", "crc16"][m.hash] == v["hash"], "hash")
        wanted = {n["keyspace"]: n["prefix"].encode() for n in v["named"]}
        check(m.prefixes == wanted, "prefixes")
        for field, key in (("partitions_of_user_1", b"user:1"), ("partitions_of_USER_1", b"USER:1")):
            for p in v[field]:
                check(m.partition(p["keyspace"], key) == p["partition"], field)
        for p, o in enumerate(v["owners"]):
            wanted = Owner(number(o["epoch"]), o["home"], o["owner"], o["stand_in"])
            check(m.owners[p] == wanted == m.derived_owner(p), f"owner of partition {p}")
            order, simple = m.candidates(p), m.candidates_without_ranks(p)
            check(order == o["ask_in_this_order"], f"candidates of partition {p}")
            check(sorted(simple) == sorted(order), f"candidates without ranks of partition {p}")
            # A server that may write, or lets a write wait, is asked first or second.
            check(order[0] in simple[:2], f"candidates without ranks of partition {p}")
            if m.servers[o["home"]].state == WAITING:
                check(order[0] == simple[0], f"the one that may write of partition {p}")
    return len(items)


def vectors_datagram(items):
    for v in items:
        for field, secret in (("hex_without_secret", NO_SECRET), ("hex_with_secret", bytes.fromhex(v["secret"]))):
            data = bytes.fromhex(v[field])
            wanted = {name: v[name] for name in ("kind", "sender", "recipient", "subject", "sequence", "arg",
                                                "first")}
            wanted.update({n: number(v[n]) for n in ("topology_id", "boot_id", "epoch", "nonce")})
            wanted["states"] = [(number(s["since"]), number(s["boot_id"]), s["state"]) for s in v["statuses"]]
            probed = v["probed"]
            wanted["probed"] = probed and (number(probed["boot_id"]), number(probed["map_epoch"]))
            check(datagram_fields(data) == wanted, f"datagram {v['name']}")
            check(KINDS[v["kind"] - 1] == v["name"].split()[0], "kind")
            if field == "hex_with_secret" and CLIENT in (v["sender"], v["recipient"]):
                secret = clients_key(secret)
            check(keyed_code(secret, 1, data[:-16]) == data[-16:], f"code of {v['name']}")
    return len(items)


def vectors_replay_window(items):
    for v in items:
        window = ReplayWindow()
        for step in v["steps"]:
            check(window.accept(number(step["sequence"])) == step["accepted"], str(v))
    return len(items)


SECTIONS = {
    "hash": vectors_hash, "slot": vectors_slot, "key_form": vectors_key_form, "cluster_id": vectors_cluster_id,
    "placement": vectors_placement,
    "epoch_tag": vectors_epoch_tag, "tag_is_newer": vectors_tag_is_newer, "ttl": vectors_ttl,
    "request": vectors_request, "response": vectors_response, "item_head": vectors_item_head,
    "modify_head": vectors_modify_head, "transact": vectors_transact,
    "transact_results": vectors_transact_results, "walk": vectors_walk, "walked": vectors_walked,
    "hello": vectors_hello,
    "ping_reply": vectors_ping_reply, "stats_reply": vectors_stats_reply,
    "hot_reply": vectors_hot_reply, "map": vectors_map,
    "datagram": vectors_datagram, "replay_window": vectors_replay_window,
}


# --- Command line ---------------------------------------------------------------------


def parse_address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as 127.0.0.1:7401")
    return host.strip("[]"), int(port)


def parse_secret(text):
    """Hexadecimal digits, or the name of a file that holds them."""
    if os.path.exists(text):
        with open(text, encoding="ascii") as file:
            text = file.read().strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise argparse.ArgumentTypeError("a secret is 64 hexadecimal digits, or a file with them")
    return secret


def seeds(text):
    return [parse_address(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description="A small Standin client.")
    parser.add_argument("--seeds", type=seeds, default=[], help="addresses, separated by commas")
    parser.add_argument("--keyspace", type=int, default=1, help="id of the keyspace")
    parser.add_argument("--secret", type=parse_secret, help="64 hex digits, or a file with them")
    parser.add_argument("--ca", help="the cluster has TLS: the authorities of its certificates, a PEM file")
    parser.add_argument("--tls-name", help="the name that the certificates are for, if not the addresses")
    parser.add_argument("--cert", nargs=2, metavar=("CERT", "KEY"), help="the client's certificate and its key, PEM files")
    parser.add_argument("--user", help="name of a user; the password is in the environment variable STANDIN_PASSWORD")
    parser.add_argument("--timeout", type=float, default=0.25, help="seconds of silence after which a send has failed")
    parser.add_argument("--trace", action="store_true", help="say what happens when, on standard error")
    commands = parser.add_subparsers(dest="command", required=True)
    test = commands.add_parser("selftest", help="try everything against a live cluster")
    test.add_argument("--key", default=f"python-selftest-{os.getpid()}-", help="first key; deleted in the end")
    test.add_argument("--count", type=int, default=32, help="number of keys")
    commands.add_parser("map", help="print the map")
    commands.add_parser("vectors", help="check this client").add_argument("file")
    for name, fields in (("get", ["key"]), ("put", ["key", "value"]), ("delete", ["key"])):
        command = commands.add_parser(name)
        for field in fields:
            command.add_argument(field)
    options = parser.parse_args()
    try:
        return run(options)
    except (AssertionError, OSError, OutcomeUnknown, ProtocolError, Refused, Unreachable) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1


def run(options):
    if options.command == "vectors":
        check_vectors(options.file)
        return 0
    if not options.seeds:
        print("failed: give --seeds", file=sys.stderr)
        return 1
    began = time.monotonic()

    def tell(text):
        if options.trace:
            print(f"{(time.monotonic() - began) * 1000:8.1f} ms  {text}", file=sys.stderr)

    user = None
    if options.user is not None:
        name = options.user.encode()
        user = name, user_key(name, os.environ.get("STANDIN_PASSWORD", "").encode())
    tls = ssl.create_default_context(cafile=options.ca) if options.ca else None
    if tls is not None and options.cert:
        tls.load_cert_chain(*options.cert)
    client = Client(options.seeds, options.secret, attempt_timeout_s=options.timeout, tell=tell,
                    tls=tls, tls_name=options.tls_name, user=user)
    try:
        if options.command == "selftest":
            selftest(client, options.keyspace, options.key.encode(), options.count)
        elif options.command == "map":
            for i, s in enumerate(client.fetch_map().servers):
                print(i, s.name.decode(), _shown(s.ip, s.port), STATE_NAMES[s.state])
        elif options.command == "get":
            value, version = client.get(options.keyspace, options.key.encode())
            if value is None:
                print("no such row", file=sys.stderr)
                return 1
            sys.stdout.buffer.write(value + b"\n")
            print(f"version {version:#x}", file=sys.stderr)
        elif options.command == "put":
            client.put(options.keyspace, options.key.encode(), options.value.encode())
        elif options.command == "delete":
            print("deleted" if client.delete(options.keyspace, options.key.encode()) else "no such row")
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
