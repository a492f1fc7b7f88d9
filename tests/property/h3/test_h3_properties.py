"""Any split of the bytes means the same; garbage is refused in order; what we encode we decode."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from quicrpc.h3.connection import H3Connection, H3Event, H3EventKind
from quicrpc.h3.errors import ErrorCode, H3ConnectionError
from quicrpc.h3.fields import FieldSection
from quicrpc.h3.frames import MAX_VARINT, decode_frame_header, decode_varint, encode_frame, encode_varint
from quicrpc.h3.qpack import FieldDecoders, encode_section, headers_frame
from quicrpc.h3.settings import decode_settings, encode_settings

DECODERS = FieldDecoders()

REQUEST_FIELDS = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/p/m")]
varints = st.integers(0, MAX_VARINT)
names = st.from_regex(rb"[a-z0-9-]{1,12}-x", fullmatch=True)
values = st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n\0").strip(b" \t"))
lines = st.lists(st.tuples(names, values), max_size=6)

frames = st.one_of(
    lines.map(lambda extra: headers_frame([*REQUEST_FIELDS, *extra])),
    lines.map(lambda extra: headers_frame([(b":status", b"200"), *extra])),
    lines.map(lambda extra: headers_frame([(b"grpc-status", b"0"), *extra])),
    st.sampled_from([b"103", b"101"]).map(lambda status: headers_frame([(b":status", status)])),
    st.integers(0, 30).map(lambda length: headers_frame([*REQUEST_FIELDS, (b"content-length", b"%d" % length)])),
    st.binary(max_size=100).map(lambda content: encode_frame(0, content)),
    st.tuples(st.one_of(st.integers(0, 0x0F), st.just(0x21), varints), st.binary(max_size=10)).map(lambda f: encode_frame(*f)),
    st.binary(max_size=20).map(lambda block: encode_frame(1, b"\0\0" + block)),
)

#: Messages that mostly are in order, sometimes followed by anything, sometimes cut off.
messages = st.one_of(
    st.lists(frames, max_size=5).map(b"".join),
    st.tuples(lines, st.lists(st.binary(max_size=100), max_size=3), st.booleans(), st.lists(frames, max_size=1)).map(
        lambda m: b"".join(
            [
                headers_frame([*REQUEST_FIELDS, *m[0]]),
                *(encode_frame(0, content) for content in m[1]),
                headers_frame([(b"grpc-status", b"0")]) if m[2] else b"",
                *m[3],
            ]
        )
    ),
).flatmap(lambda data: st.one_of(st.just(data), st.integers(0, len(data)).map(lambda end: data[:end])))

control_streams = st.lists(
    st.one_of(
        st.dictionaries(varints, varints, max_size=4).map(lambda values: encode_frame(4, encode_settings(values))),
        st.tuples(st.sampled_from([3, 7, 0x0D]), varints).map(lambda f: encode_frame(f[0], encode_varint(f[1]))),
        st.tuples(varints, st.binary(max_size=10)).map(lambda f: encode_frame(*f)),
    ),
    max_size=5,
).map(lambda sent: b"\0" + encode_frame(4, b"\x06\x09") + b"".join(sent))


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Split at ``cuts``, taken modulo the length; an empty piece is a piece."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


Seen = list[tuple[object, ...]]


def outcome(stream: int, parts: list[bytes], *, fin: bool, is_client: bool) -> tuple[Seen, ErrorCode | None]:
    """Return the events, content joined and sections by value, and the connection error that ended them."""
    connection = H3Connection(is_client=is_client, decoders=DECODERS)
    seen: Seen = []
    content = b""

    def note(event: H3Event) -> None:
        nonlocal content
        if event[0] is H3EventKind.DATA:
            assert event[2] != b""
            content += event[2]
            return
        if content:
            seen.append(("content", content))
            content = b""
        seen.append(tuple(member.fields if isinstance(member, FieldSection) else member for member in event))

    try:
        for index, part in enumerate(parts):
            for event in connection.receive_data(stream, part, fin and index == len(parts) - 1):
                note(event)
    except H3ConnectionError as error:
        # The owner closes; of what arrived together with the error nothing needs to be told.
        return [], error.code
    if content:
        seen.append(("content", content))
    return seen, None


cuts = st.lists(st.integers(0, 10_000), max_size=8)


@given(data=messages, cuts=cuts, fin=st.booleans(), is_client=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_message_means_the_same_however_it_is_split(data: bytes, cuts: list[int], fin: bool, is_client: bool) -> None:
    whole = outcome(0, [data], fin=fin, is_client=is_client)
    assert outcome(0, pieces(data, cuts), fin=fin, is_client=is_client) == whole
    assert outcome(0, pieces(data, range(len(data))), fin=fin, is_client=is_client) == whole


@given(data=control_streams, cuts=cuts, is_client=st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_control_stream_means_the_same_however_it_is_split(data: bytes, cuts: list[int], is_client: bool) -> None:
    stream = 3 if is_client else 2
    whole = outcome(stream, [data], fin=False, is_client=is_client)
    assert outcome(stream, pieces(data, cuts), fin=False, is_client=is_client) == whole
    assert outcome(stream, pieces(data, range(len(data))), fin=False, is_client=is_client) == whole


garbage = st.one_of(st.binary(max_size=64), messages, control_streams, st.binary(max_size=8).map(lambda tail: b"\0\x04\0" + tail))
deliveries = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 12), varints), garbage, st.booleans(), st.sampled_from(["data"] * 6 + ["reset", "stop", "forget"])
    ),
    max_size=8,
)


@given(deliveries=deliveries, is_client=st.booleans())
@settings(max_examples=150, deadline=None)
def test_garbage_raises_connection_errors_only(deliveries: list[tuple[int, bytes, bool, str]], is_client: bool) -> None:
    connection = H3Connection(is_client=is_client, decoders=DECODERS)
    connection.control_stream_opened(2 if is_client else 3)
    try:
        for stream, data, fin, what in deliveries:
            if what == "data":
                events = connection.receive_data(stream, data, fin)
            elif what == "reset":
                events = connection.receive_reset(stream, 0)
            elif what == "stop":
                events = connection.receive_stop_sending(stream, 0)
            else:
                connection.forget(stream)
                continue
            assert all(isinstance(event[0], H3EventKind) for event in events)
    except H3ConnectionError as error:
        assert isinstance(error.code, ErrorCode)


@given(value=varints, other=varints, before=st.binary(max_size=3))
def test_integers_and_frame_headers_round_trip(value: int, other: int, before: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(before + encoded, len(before)) == (value, len(before) + len(encoded))
    header = encoded + encode_varint(other)
    assert decode_frame_header(header, 0) == (value, other, len(header))
    assert decode_frame_header(header[:-1], 0) is None


@given(values=st.dictionaries(varints.filter(lambda identifier: identifier not in (0, 2, 3, 4, 5)), varints, max_size=8))
def test_settings_round_trip(values: dict[int, int]) -> None:
    assert decode_settings(encode_settings(values)) == values


@given(extra=lines)
def test_sections_round_trip(extra: list[tuple[bytes, bytes]]) -> None:
    fields = [*REQUEST_FIELDS, *extra]
    assert DECODERS.requests.decode(0, encode_section(fields)).fields == tuple(fields)
