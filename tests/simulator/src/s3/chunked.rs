//! Owns the `aws-chunked` form in which SDKs send a body with its checksum behind it.

use http::{HeaderName, HeaderValue, Request, header};
use hyper::body::Bytes;
use s3s::{S3Error, S3ErrorCode, S3Result};

/// Turns an `aws-chunked` request into a plain one: chunks joined, trailers moved to the headers.
/// Chunk signatures are not verified. Any other request is given back as it is.
pub(super) fn unwrap(request: Request<Bytes>) -> S3Result<Request<Bytes>> {
    let is_chunked = request
        .headers()
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("STREAMING-"));
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("x-amz-content-sha256");
    if !is_chunked {
        return Ok(Request::from_parts(parts, body));
    }
    let (body, trailers) = decode(&body).ok_or_else(|| {
        S3Error::with_message(S3ErrorCode::InvalidRequest, "the aws-chunked body could not be decoded")
    })?;
    let announced = parts
        .headers
        .remove("x-amz-decoded-content-length")
        .and_then(|value| value.to_str().ok().and_then(|text| text.parse::<usize>().ok()));
    if announced.is_some_and(|length| length != body.len()) {
        return Err(S3Error::with_message(
            S3ErrorCode::IncompleteBody,
            "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header",
        ));
    }
    parts.headers.remove("x-amz-trailer");
    let rest = parts.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).map(|value| {
        value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect::<Vec<_>>().join(",")
    });
    match rest.as_deref() {
        None => {}
        Some("") => drop(parts.headers.remove(header::CONTENT_ENCODING)),
        Some(rest) => {
            if let Ok(value) = HeaderValue::from_str(rest) {
                parts.headers.insert(header::CONTENT_ENCODING, value);
            }
        }
    }
    for (name, value) in trailers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            parts.headers.insert(name, value);
        }
    }
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Request::from_parts(parts, Bytes::from(body)))
}

type Trailers = Vec<(String, String)>;

/// `<hex size>[;extension]CRLF <bytes> CRLF … 0CRLF [trailer: value CRLF]… CRLF`
fn decode(mut rest: &[u8]) -> Option<(Vec<u8>, Trailers)> {
    let mut body = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            rest = after;
            break;
        }
        body.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
    let mut trailers = Vec::new();
    while let Some((line, after)) = line(rest) {
        rest = after;
        if let Some((name, value)) = line.split_once(':') {
            let name = name.trim().to_ascii_lowercase();
            if name != "x-amz-trailer-signature" {
                trailers.push((name, value.trim().to_owned()));
            }
        }
    }
    Some((body, trailers))
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    Some((text, bytes.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_the_trailer_becomes_a_header() {
        let request = Request::put("/bucket/key")
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "11")
            .body(Bytes::from_static(
                b"6\r\nhello \r\n5;chunk-signature=00\r\nworld\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
            ))
            .unwrap();
        let plain = unwrap(request).unwrap();
        assert_eq!(plain.body().as_ref(), b"hello world");
        assert_eq!(plain.headers()["x-amz-checksum-crc32"], "DUoRhQ==");
        assert_eq!(plain.headers()["content-length"], "11");
        assert!(!plain.headers().contains_key("content-encoding"));
    }

    #[test]
    fn a_chunked_body_that_ends_early_is_refused() {
        let request = Request::put("/bucket/key")
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .body(Bytes::from_static(b"6\r\nhel"))
            .unwrap();
        assert!(unwrap(request).is_err());
    }
}
