//! Frames of HTTP/2 (RFC 9113) and header blocks (RFC 7541), written byte by byte: a library would
//! refuse to build the wrong ones.

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most bytes of a payload without other settings.
pub(super) const MAX_FRAME_BYTES: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9113 defines nothing from here on.
pub(super) const UNKNOWN: u8 = 0x16;

pub(super) const NO_FLAGS: u8 = 0;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const HAS_PRIORITY: u8 = 0x20;
/// A whole request without a body.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;

// Error codes (RFC 9113, section 7).
pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const STREAM_CLOSED_ERROR: u32 = 5;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// What the daemons offer (`http_server`'s own number).
pub(super) const MAX_STREAMS: u32 = 128;

/// The largest window (RFC 9113, section 6.9.1).
pub(super) const MAX_WINDOW: u32 = (1 << 31) - 1;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, NO_FLAGS, 0, &payload)
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, NO_FLAGS, stream, &increment.to_be_bytes())
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, NO_FLAGS, stream, &code.to_be_bytes())
}

/// A PRIORITY payload.
pub(super) fn dependency(on: u32) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[15]].concat()
}

/// An integer of RFC 7541, section 5.1, whose prefix has `bits` bits beside `first`.
pub(super) fn integer(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if let Ok(small) = u8::try_from(value)
        && value < most
    {
        return vec![first | small];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap_or(u8::MAX)];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap_or_default());
    bytes
}

/// A string without Huffman coding.
fn string(text: &[u8]) -> Vec<u8> {
    [&integer(0, 7, text.len()), text].concat()
}

/// A header field as literals, which are not added to the table.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name.as_bytes()), string(value.as_bytes())].concat()
}

/// The header block of these fields.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// The pseudo-header fields of a request.
pub(super) const fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
    ]
}

/// The header block of a request for the open route.
pub(super) fn get() -> Vec<u8> {
    block(&pseudo("GET", "/health"))
}

/// The same with more fields.
pub(super) fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    [get(), block(fields)].concat()
}

/// The header block of a request with a body.
pub(super) fn post() -> Vec<u8> {
    block(&pseudo("POST", "/health"))
}

/// The same that announces the length of the body.
pub(super) fn post_of_length(length: &str) -> Vec<u8> {
    [post(), field("content-length", length)].concat()
}
