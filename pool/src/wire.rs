//! Frames: a 4-byte big-endian length, then that many bytes of one UTF-8 JSON object.
//!
//! Both protocols use them. A frame that is too long, cut short or not an object condemns the
//! worker that sent it: nothing after it can be trusted.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

/// The longest frame where nothing else is configured: 64 MiB.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;

/// A header that announces more than any limit: whoever reads it gives the stream up.
pub(crate) const NO_FRAME: [u8; HEADER] = [0xff; HEADER];

const HEADER: usize = 4;

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is over the limit. Text on the protocol's stream looks like this too.
    #[error(
        "a frame of {length} bytes, where {limit} is the limit{}",
        if *looks_like_text { "; the length reads as text: does the worker print to its standard output?" } else { "" }
    )]
    TooLong {
        /// What the header says, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
        /// All four bytes of the header are printable ASCII.
        looks_like_text: bool,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {got} of {expected} bytes")]
    CutShort {
        /// Bytes that arrived, header included.
        got: usize,
        /// Bytes that were announced, header included; 4 where not even the header is whole.
        expected: usize,
    },
    /// The payload is not the JSON that the protocol allows.
    #[error("a frame of {length} bytes is not what the protocol allows: {reason}")]
    NotUnderstood {
        /// Payload length in bytes.
        length: usize,
        /// What the parser says.
        reason: String,
    },
}

/// Takes the next whole frame's payload off the buffer; `None` where more bytes are needed.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the header is there: the payload is never waited for.
pub fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = peek_frame(buffer, limit)?.map(<[u8]>::len) else {
        return Ok(None);
    };
    buffer.advance(HEADER);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// The next whole frame's payload, left where it is; `None` where more bytes are needed, for which
/// there is room then.
///
/// # Errors
/// As for [`take_frame`].
pub(crate) fn peek_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*header) as usize;
    if length > limit {
        let looks_like_text = header
            .iter()
            .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
        return Err(FrameError::TooLong {
            length,
            limit,
            looks_like_text,
        });
    }
    if buffer.len() < HEADER + length {
        buffer.reserve(HEADER + length - buffer.len());
        return Ok(None);
    }
    Ok(Some(&buffer[HEADER..HEADER + length]))
}

/// Takes a frame off the buffer that was looked at, with a payload of this length.
pub(crate) fn drop_frame(buffer: &mut BytesMut, length: usize) {
    buffer.advance(HEADER + length);
}

/// What is left when the stream ends: nothing, or a frame that was cut short.
///
/// # Errors
/// [`FrameError::CutShort`] where bytes of an unfinished frame are left.
pub fn end_of_stream(buffer: &BytesMut) -> Result<(), FrameError> {
    if buffer.is_empty() {
        return Ok(());
    }
    let expected = match buffer.first_chunk::<HEADER>() {
        Some(header) => HEADER + u32::from_be_bytes(*header) as usize,
        None => HEADER,
    };
    Err(FrameError::CutShort {
        got: buffer.len(),
        expected,
    })
}

/// One frame, header included.
///
/// # Errors
/// [`FrameError::TooLong`] where the payload is over the limit; [`FrameError::NotUnderstood`]
/// where the message cannot be written as JSON.
pub fn frame(message: &impl Serialize, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut buffer = Vec::with_capacity(512);
    buffer.extend_from_slice(&[0; HEADER]);
    serde_json::to_writer(&mut buffer, message).map_err(|error| FrameError::NotUnderstood {
        length: 0,
        reason: error.to_string(),
    })?;
    let length = buffer.len() - HEADER;
    match u32::try_from(length) {
        Ok(short) if length <= limit => {
            buffer[..HEADER].copy_from_slice(&short.to_be_bytes());
            Ok(buffer)
        }
        _ => Err(FrameError::TooLong {
            length,
            limit,
            looks_like_text: false,
        }),
    }
}

/// Reads a payload as the protocol's message.
///
/// # Errors
/// [`FrameError::NotUnderstood`] with the parser's words.
pub fn parse<'a, T: serde::Deserialize<'a>>(payload: &'a [u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|error| FrameError::NotUnderstood {
        length: payload.len(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn text_on_the_wire_is_told_as_such() {
        let mut buffer = BytesMut::from(&b"Hello, I am a log line"[..]);
        let error = take_frame(&mut buffer, MAX_FRAME).unwrap_err();
        assert!(error.to_string().contains("standard output"), "{error}");
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_at_its_header() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 11][..]);
        assert_eq!(
            take_frame(&mut buffer, 10),
            Err(FrameError::TooLong {
                length: 11,
                limit: 10,
                looks_like_text: false
            })
        );
        assert!(frame(&json!({"a": "x".repeat(20)}), 10).is_err());
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_an_error() {
        assert_eq!(end_of_stream(&BytesMut::new()), Ok(()));
        let got = end_of_stream(&BytesMut::from(&[0, 0, 0, 9, b'{'][..]));
        assert_eq!(
            got,
            Err(FrameError::CutShort {
                got: 5,
                expected: 13
            })
        );
        assert!(end_of_stream(&BytesMut::from(&[0][..])).is_err());
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(texts in prop::collection::vec(".{0,40}", 1..8), cut in 1_usize..17) {
            let messages: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
            let stream: Vec<u8> =
                messages.iter().flat_map(|m| frame(m, MAX_FRAME).unwrap().to_vec()).collect();
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(payload) = take_frame(&mut buffer, MAX_FRAME).unwrap() {
                    seen.push(parse::<Value>(&payload).unwrap());
                }
            }
            prop_assert_eq!(seen, messages);
            prop_assert_eq!(end_of_stream(&buffer), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(payload)) = take_frame(&mut buffer, 32) {
                let _ = parse::<Value>(&payload);
            }
            let _ = end_of_stream(&buffer);
        }
    }
}
