//! Server-sent events, read line by line (HTML standard, 9.2.6): pure, so that every cut can be
//! tested.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The last id the stream named, in this event or before.
    pub id: Option<String>,
    /// Its kind; empty when it has none.
    pub event: String,
    /// Its data, several lines joined by newlines.
    pub data: String,
}

/// Makes events of lines.
#[derive(Debug, Default)]
pub struct SseParser {
    id: Option<String>,
    event: String,
    data: String,
    has_data: bool,
}

impl SseParser {
    /// Takes the next line, with or without its end; gives an event when one is complete.
    pub fn line(&mut self, line: &str) -> Option<SseEvent> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            // An id with a zero byte is none.
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment (an empty name), `retry`, or something of a later standard.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| SseEvent {
            id: self.id.clone(),
            event,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(text: &str) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        text.split_inclusive('\n')
            .filter_map(|line| parser.line(line))
            .collect()
    }

    #[test]
    fn the_forms_of_the_standard() {
        let text = ": a comment\r\nid: 7\r\nevent: token\ndata: one\ndata:two\n\ndata: \
                    [DONE]\n\nid\ndata\n\nevent: x\n\nretry: 5\n\n";
        let shown: Vec<_> = events(text)
            .into_iter()
            .map(|event| (event.id.unwrap_or_default(), event.event, event.data))
            .collect();
        let expected = [
            ("7", "token", "one\ntwo"),
            ("7", "", "[DONE]"),
            ("", "", ""),
        ];
        assert_eq!(
            shown,
            expected.map(|(id, event, data)| (id.to_owned(), event.to_owned(), data.to_owned()))
        );
    }

    #[test]
    fn what_has_no_end_is_no_event() {
        assert_eq!(events("data: half"), []);
        assert_eq!(events("data: half\n"), []);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(data in prop::collection::vec("[^\r\n\0]{0,12}", 1..4), id in "[a-z0-9-]{1,8}") {
            let lines: String = data.iter().map(|line| format!("data: {line}\n")).collect();
            let read = events(&format!("id: {id}\n{lines}\n"));
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].data, &data.join("\n"));
            prop_assert_eq!(read[0].id.as_deref(), Some(id.as_str()));
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,64}|[\\x00-\\x7f]{0,64}") {
            let _ = events(&text);
        }
    }
}
