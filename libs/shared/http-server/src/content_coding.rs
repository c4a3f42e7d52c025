//! Decodes request bodies (`Content-Encoding`, RFC 9110, section 8.4), with a bound on the decoded
//! size.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::{HeaderMap, header::CONTENT_ENCODING};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::body_error::BodyError;

/// The largest window of a zstd frame (RFC 9659, section 3). A decoder allocates a window at once.
pub(crate) const MAX_ZSTD_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Decoded bytes after which other tasks of the thread get a turn.
const BYTES_PER_TURN: usize = 256 * 1024;

/// Decoded bytes at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

/// The coding of a body; `None` when it is sent as it is.
///
/// # Errors
/// When it cannot be decoded. Ask before the body is read.
pub(crate) fn coding(headers: &HeaderMap) -> Result<Option<Coding>, BodyError> {
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            let coding = if name.is_empty() || is(b"identity") {
                continue;
            } else if is(b"gzip") || is(b"x-gzip") {
                Coding::Gzip
            } else if is(b"zstd") {
                Coding::Zstd
            } else {
                return Err(BodyError::UnknownCoding);
            };
            if found.replace(coding).is_some() {
                return Err(BodyError::UnknownCoding);
            }
        }
    }
    Ok(found)
}

/// The decoded `body`, if it has at most `cap` bytes.
pub(crate) async fn decode(
    coding: Option<Coding>,
    body: Bytes,
    cap: usize,
) -> Result<Bytes, BodyError> {
    match coding {
        None => Ok(body),
        // Boxed: a decoder is large, few requests need one, and every request moves this future.
        Some(coding) => Box::pin(decode_as(coding, &body, cap)).await,
    }
}

async fn decode_as(coding: Coding, body: &[u8], cap: usize) -> Result<Bytes, BodyError> {
    let mut encoded = body;
    let decoded = match coding {
        Coding::Gzip => {
            let mut decoder = GzDecoder::new(encoded);
            let decoded = read_all(&mut decoder, cap).await?;
            encoded = decoder.into_inner();
            decoded
        }
        Coding::Zstd => {
            let mut frame = FrameDecoder::new();
            frame.set_max_window_size(MAX_ZSTD_WINDOW_BYTES);
            let decoder = StreamingDecoder::new_with_decoder(&mut encoded, frame);
            let mut decoder = decoder.map_err(|error| undecodable(io::Error::other(error)))?;
            read_all(&mut decoder, cap).await?
        }
    };
    if encoded.is_empty() {
        Ok(decoded.into())
    } else {
        let error = io::Error::other("something follows the end of the encoded body");
        Err(undecodable(error))
    }
}

fn undecodable(error: io::Error) -> BodyError {
    BodyError::Undecodable(error)
}

async fn read_all(decoder: &mut (impl Read + Send), cap: usize) -> Result<Vec<u8>, BodyError> {
    let mut decoded = Vec::new();
    let mut in_this_turn = 0;
    loop {
        let start = decoded.len();
        decoded.resize(start + PIECE_BYTES, 0);
        let read = decoder.read(decoded.get_mut(start..).unwrap_or_default());
        let read = read.map_err(undecodable)?;
        decoded.truncate(start + read);
        if read == 0 {
            return Ok(decoded);
        }
        if decoded.len() > cap {
            return Err(BodyError::TooLarge { limit: cap as u64 });
        }
        in_this_turn += read;
        if in_this_turn >= BYTES_PER_TURN {
            in_this_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;
    use crate::body_error::ACCEPTED_CODINGS;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        compress_to_vec(body, CompressionLevel::Fastest)
    }

    async fn decoded(coding: &str, body: Vec<u8>, cap: usize) -> Result<Bytes, BodyError> {
        let value = HeaderValue::from_str(coding).unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, value)]);
        decode(super::coding(&headers)?, body.into(), cap).await
    }

    // spec: DOOR-31
    #[tokio::test]
    async fn both_codings_are_decoded() {
        let body = br#"{"model":"tiny"}"#.repeat(20_000);
        for (coding, encoded) in [
            ("gzip", gzip(&body)),
            ("GZip", gzip(&body)),
            ("x-gzip", gzip(&body)),
            ("identity, gzip", gzip(&body)),
            ("zstd", zstd(&body)),
            ("identity", body.clone()),
            ("", body.clone()),
        ] {
            let decoded = decoded(coding, encoded, body.len()).await.unwrap();
            assert!(decoded == body, "{coding}");
        }
        for coding in ["gzip", "zstd"] {
            let encoded = if coding == "gzip" {
                gzip(b"")
            } else {
                zstd(b"")
            };
            assert_eq!(decoded(coding, encoded, 0).await.unwrap(), "");
        }
    }

    // spec: DOOR-31
    #[tokio::test]
    async fn the_decoded_size_is_bounded() {
        let body = vec![b' '; 1024 * 1024];
        for (coding, encoded) in [("gzip", gzip(&body)), ("zstd", zstd(&body))] {
            assert!(encoded.len() < body.len() / 4);
            let error = decoded(coding, encoded, body.len() / 2).await.unwrap_err();
            assert!(
                matches!(error, BodyError::TooLarge { limit: 524_288 }),
                "{error}"
            );
        }
        // A frame whose window is 2 GiB.
        let huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        let error = decoded("zstd", huge, 1024).await.unwrap_err();
        assert!(matches!(error, BodyError::Undecodable(_)), "{error}");
    }

    // spec: DOOR-31
    #[tokio::test]
    async fn what_cannot_be_decoded_is_refused() {
        for coding in ["br", "deflate", "gzip, gzip", "gzip, zstd", "gzip;q=1"] {
            let error = decoded(coding, Vec::new(), 1024).await.unwrap_err();
            assert!(matches!(error, BodyError::UnknownCoding), "{coding}");
            assert!(error.to_string().contains(ACCEPTED_CODINGS), "{error}");
        }
        let body = br#"{"model":"tiny"}"#;
        for (coding, encoded) in [("gzip", gzip(body)), ("zstd", zstd(body))] {
            let cut = encoded[..encoded.len() - 3].to_vec();
            let followed = [encoded.as_slice(), b"{}"].concat();
            for wrong in [Vec::new(), b"{}".to_vec(), cut, followed] {
                let error = decoded(coding, wrong, 1024).await.unwrap_err();
                assert!(matches!(error, BodyError::Undecodable(_)), "{error}");
            }
        }
    }
}
