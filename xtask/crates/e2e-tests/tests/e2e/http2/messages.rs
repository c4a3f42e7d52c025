//! The table of what a client must not do: messages (RFC 9113, section 8) and header blocks (RFC
//! 7541).

use super::{
    cases::{COMPRESSION, Case, PROTOCOL, case, headers, opened},
    client::Expected,
    frames::*,
};

/// Section 8. A malformed request is no matter of the connection.
pub(super) fn of_messages() -> Vec<Case> {
    use Expected::{GoAway, Reset, Served};
    let malformed = |section, what, block: &[u8]| {
        case(
            section,
            what,
            &[headers(WHOLE, 1, block)],
            Reset(1, PROTOCOL),
        )
    };
    let with = |field| get_with(&[field]);
    let of = |fields: &[(&str, &str)]| block(fields);
    let [method, scheme, path, authority] = pseudo("GET", "/health");
    let body = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let announced = |length| headers(END_HEADERS, 1, &post_of_length(length));
    vec![
        case(
            "8.1",
            "a second header block that is not the last",
            &[
                opened(),
                headers(END_HEADERS, 1, &block(&[("x-late", "1")])),
            ],
            Reset(1, PROTOCOL),
        ),
        case(
            "8.1",
            "trailers",
            &[
                opened(),
                body(NO_FLAGS, b"x"),
                headers(WHOLE, 1, &block(&[("x-late", "1")])),
            ],
            Served,
        ),
        // h2 drops the field; no handler sees it.
        case(
            "8.1",
            "a pseudo-header in trailers",
            &[opened(), headers(WHOLE, 1, &block(&[(":method", "GET")]))],
            Served,
        ),
        case(
            "8.1.1",
            "a body longer than announced",
            &[announced("1"), body(END_STREAM, b"four")],
            Reset(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            "pieces longer than announced",
            &[
                announced("1"),
                body(NO_FLAGS, b"fo"),
                body(END_STREAM, b"ur"),
            ],
            Reset(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            "a body shorter than announced",
            &[announced("5"), body(END_STREAM, b"four")],
            Reset(1, PROTOCOL),
        ),
        malformed(
            "8.1.1",
            "no body where one is announced",
            &post_of_length("5"),
        ),
        malformed("8.1.1", "a length that is no number", &post_of_length("+1")),
        case(
            "8.2.1",
            "a name in capitals",
            &[headers(WHOLE, 1, &with(("X-Capital", "1")))],
            GoAway(PROTOCOL),
        ),
        case(
            "8.2.1",
            "a line break in a value",
            &[headers(WHOLE, 1, &with(("x-a", "1\r\nhost: other")))],
            GoAway(PROTOCOL),
        ),
        case(
            "8.2.1",
            "a blank in a name",
            &[headers(WHOLE, 1, &with(("x a", "1")))],
            GoAway(PROTOCOL),
        ),
        malformed("8.2.2", "Connection", &with(("connection", "keep-alive"))),
        malformed("8.2.2", "Keep-Alive", &with(("keep-alive", "timeout=5"))),
        malformed(
            "8.2.2",
            "Proxy-Connection",
            &with(("proxy-connection", "close")),
        ),
        malformed(
            "8.2.2",
            "Transfer-Encoding",
            &with(("transfer-encoding", "chunked")),
        ),
        malformed("8.2.2", "Upgrade", &with(("upgrade", "h2c"))),
        malformed(
            "8.2.2",
            "TE other than trailers",
            &with(("te", "trailers, deflate")),
        ),
        case(
            "8.2.2",
            "TE: trailers",
            &[headers(WHOLE, 1, &with(("te", "trailers")))],
            Served,
        ),
        case(
            "8.3",
            "an unknown pseudo-header",
            &[headers(WHOLE, 1, &with((":other", "1")))],
            GoAway(PROTOCOL),
        ),
        malformed(
            "8.3",
            "the pseudo-header of a response",
            &with((":status", "200")),
        ),
        malformed(
            "8.3",
            "a pseudo-header behind a header",
            &of(&[method, scheme, ("x-a", "1"), path, authority]),
        ),
        malformed(
            "8.3.1",
            "an empty path",
            &of(&[method, scheme, (":path", ""), authority]),
        ),
        malformed("8.3.1", "no path", &of(&[method, scheme, authority])),
        malformed("8.3.1", "no method", &of(&[scheme, path, authority])),
        malformed("8.3.1", "no scheme", &of(&[method, path, authority])),
        malformed("8.3.1", "two methods", &with(method)),
        malformed("8.3.1", "two schemes", &with(scheme)),
        malformed("8.3.1", "two paths", &with(path)),
        malformed(
            "8.3.1",
            "two authorities",
            &of(&[method, scheme, path, authority, authority]),
        ),
        malformed(
            "8.5",
            "CONNECT with a path",
            &of(&[(":method", "CONNECT"), path, authority]),
        ),
        malformed(
            "8.6",
            "an extended CONNECT that is not offered",
            &of(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                scheme,
                path,
                authority,
            ]),
        ),
    ]
}

/// RFC 7541.
pub(super) fn of_header_blocks() -> Vec<Case> {
    use Expected::{GoAway, Served};
    let wrong = |section, what, end: &[u8]| {
        let block = [&get()[..], end].concat();
        case(
            section,
            what,
            &[headers(WHOLE, 1, &block)],
            GoAway(COMPRESSION),
        )
    };
    // A literal without index, with the name `x` and a value in Huffman code.
    let coded = |bytes: &[u8]| [&[0, 1, b'x', 0x80 | bytes.len().to_le_bytes()[0]], bytes].concat();
    let resize = |size| integer(0x20, 5, size);
    let resized = |size| headers(WHOLE, 1, &[resize(size), get()].concat());
    vec![
        wrong(
            "HPACK 2.3.3",
            "an index beyond both tables",
            &integer(0x80, 7, 70),
        ),
        wrong(
            "HPACK 2.3.3",
            "a name beyond both tables",
            &[integer(0x40, 6, 70), vec![0]].concat(),
        ),
        wrong("HPACK 6.1", "the index 0", &[0x80]),
        case("HPACK 4.2", "a smaller table", &[resized(0)], Served),
        case(
            "HPACK 4.2",
            "the table as offered",
            &[resized(4096)],
            Served,
        ),
        wrong(
            "HPACK 4.2",
            "a new size of the table behind a field",
            &resize(1),
        ),
        case(
            "HPACK 6.3",
            "a larger table than offered",
            &[resized(4097)],
            GoAway(COMPRESSION),
        ),
        wrong("HPACK 5.1", "an integer without an end", &[0xff; 12]),
        wrong(
            "HPACK 5.2",
            "a string beyond the block",
            &[0, 1, b'x', 0x7f, 0x7f],
        ),
        wrong(
            "HPACK 5.2",
            "a padding of more than seven bits",
            &coded(&[0x1c, 0x64, 0xff, 0xff]),
        ),
        wrong("HPACK 5.2", "a padding of zeros", &coded(&[0x18])),
        wrong(
            "HPACK 5.2",
            "the end of a string",
            &coded(&[0xff, 0xff, 0xff, 0xff]),
        ),
        case(
            "HPACK 5.2",
            "a string in Huffman code",
            &[
                // `a`, and a padding of ones.
                headers(WHOLE, 1, &[get(), coded(&[0x1f])].concat()),
            ],
            Served,
        ),
    ]
}
