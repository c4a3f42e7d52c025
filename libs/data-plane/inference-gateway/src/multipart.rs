//! Finds the `model` field of a form (`multipart/form-data`, RFC 7578) without copying the file
//! next to it.

use memchr::memmem;

/// Whether a content type is that of a form with a boundary.
pub(crate) fn is_form(content_type: &str) -> bool {
    boundary(content_type).is_some()
}

/// The value of the form field `model`; `None` when the body is no form or has no such field.
pub(crate) fn model<'a>(content_type: &str, body: &'a [u8]) -> Option<&'a str> {
    let delimiter = format!("--{}", boundary(content_type)?);
    let mut rest = &body[memmem::find(body, delimiter.as_bytes())? + delimiter.len()..];
    loop {
        // Each part: CRLF, headers, blank line, content, CRLF and the next delimiter.
        let headers_end = memmem::find(rest, b"\r\n\r\n")?;
        let headers = &rest[..headers_end];
        let content = &rest[headers_end + 4..];
        let end = memmem::find(content, delimiter.as_bytes())?;
        if is_model(headers) {
            let value = content[..end].strip_suffix(b"\r\n")?;
            return std::str::from_utf8(value).ok();
        }
        rest = &content[end + delimiter.len()..];
    }
}

/// The boundary of a form's content type; `None` for any other content type.
fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let value = value.trim_matches('"');
    // RFC 2046, 5.1.1: 1 to 70 characters.
    (1..=70).contains(&value.len()).then_some(value)
}

/// Whether a part's headers name the field `model` (and no file).
fn is_model(headers: &[u8]) -> bool {
    let Ok(headers) = std::str::from_utf8(headers) else {
        return false;
    };
    headers.lines().any(|line| {
        let Some((name, value)) = line.split_once(':') else {
            return false;
        };
        name.trim().eq_ignore_ascii_case("content-disposition")
            && value
                .split(';')
                .map(str::trim)
                .any(|part| part == r#"name="model""# || part == "name=model")
            && !value.contains("filename")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn form(parts: &[(&str, &str)]) -> String {
        let parts = parts
            .iter()
            .map(|(headers, content)| format!("--XX\r\n{headers}\r\n\r\n{content}\r\n"));
        parts.chain(["--XX--\r\n".to_owned()]).collect()
    }

    #[test]
    fn the_model_is_found_next_to_a_file() {
        let file = (
            "Content-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: \
             audio/wav",
            "a\0\r\n\r\nb",
        );
        let field = ("content-disposition: form-data; name=\"model\"", "whisper");
        for parts in [[file, field], [field, file]] {
            let body = form(&parts);
            assert_eq!(model(TYPE, body.as_bytes()), Some("whisper"), "{body}");
            assert_eq!(
                model(
                    "Multipart/Form-Data; charset=x; boundary=\"XX\"",
                    body.as_bytes()
                ),
                Some("whisper")
            );
        }
        assert_eq!(model(TYPE, form(&[file]).as_bytes()), None);
    }

    #[test]
    fn broken_forms_have_no_model() {
        let body = form(&[("Content-Disposition: form-data; name=\"model\"", "m")]);
        for (content_type, body) in [
            ("application/json", body.as_str()),
            ("multipart/form-data", &body),
            ("multipart/form-data; boundary=", &body),
            ("multipart/form-data; boundary=YY", &body),
            (TYPE, ""),
            (TYPE, "--XX"),
            (
                TYPE,
                "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm",
            ),
            (TYPE, "--XX\r\n\r\n\r\n--XX--"),
        ] {
            assert_eq!(
                model(content_type, body.as_bytes()),
                None,
                "{content_type} {body}"
            );
        }
    }
}
