//! What the engine is to do.

use std::time::Duration;

use thiserror::Error;

/// The request header that changes the script for one request.
pub const SCRIPT_HEADER: &str = "x-fake";

/// How the engine misbehaves on inference requests. Tokens are counted from 0: `Cut(3)` happens in
/// place of the fourth.
///
/// An unstreamed answer has no tokens to count; `Cut` and `EndEarly` then end it, and `Stall` holds
/// it, in the middle of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers at once with this status and an error in OpenAI's shape.
    Refuse(u16),
    /// Takes the request and never answers.
    Silent,
    /// Closes the connection in the middle of a chunk after so many tokens.
    Cut(u32),
    /// Sends nothing more after so many tokens, and keeps the connection.
    Stall(u32),
    /// Ends the body properly after so many tokens, but without a finish reason and `[DONE]`.
    EndEarly(u32),
    /// Answers at once with this status and a page, as a proxy in front of an engine does.
    Proxy(u16),
    /// Ends a complete stream without `[DONE]`.
    NoDone,
    /// Sends an event with so many bytes of text before the last one.
    LongEvent(u32),
    /// Begins a stream with an event that reports an error, and ends it.
    StreamError,
}

/// How the engine behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many requests it says it serves at once. It serves all that come, and
    /// [`crate::Stats::peak`] tells how many came together.
    pub slots: u32,
    /// The models it lists; answers carry the first.
    pub models: Vec<String>,
    /// The status of `/health`; a loading `llama-server` answers 503.
    pub health: u16,
    /// Whether it accepts connections and answers nothing at all, not even `/health`.
    pub hung: bool,
    /// Tokens of an answer; a request's `max_tokens` may ask for fewer.
    pub tokens: u32,
    /// How long it takes until the head of the answer.
    pub head_delay: Duration,
    /// How long it takes from the head to the first token.
    pub first_token_delay: Duration,
    /// How long it takes from token to token.
    pub token_delay: Duration,
    /// Whether tokens without a delay between them are written together. Real engines write each
    /// by itself.
    pub burst: bool,
    /// The fault.
    pub fault: Option<Fault>,
    /// The seconds that `Retry-After` of a refusal says.
    pub retry_after: Option<u32>,
}

impl Default for Script {
    /// Four slots, one model named "tiny", answers of 16 tokens without delay.
    fn default() -> Self {
        Self {
            slots: 4,
            models: vec!["tiny".to_owned()],
            health: 200,
            hung: false,
            tokens: 16,
            head_delay: Duration::ZERO,
            first_token_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            burst: true,
            fault: None,
            retry_after: None,
        }
    }
}

/// An unknown directive of [`SCRIPT_HEADER`]. So a typing error in a test is an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{SCRIPT_HEADER}: {0:?} is none of tokens=N, head_ms=N, first_ms=N, token_ms=N, burst=0|1, \
     status=N, retry=N, silent, cut=N, stall=N, end=N, proxy=N, nodone, long=N, error"
)]
pub struct DirectiveError(String);

/// The part of a script that one request can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) tokens: u32,
    pub(crate) head_delay: Duration,
    pub(crate) first_token_delay: Duration,
    pub(crate) token_delay: Duration,
    pub(crate) burst: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) retry_after: Option<u32>,
}

impl Script {
    /// The script with the directives of [`SCRIPT_HEADER`] for all requests to come:
    /// `first_ms=20,token_ms=10`.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn with(mut self, directives: &str) -> Result<Self, DirectiveError> {
        let Plan {
            tokens,
            head_delay,
            first_token_delay,
            token_delay,
            burst,
            fault,
            retry_after,
        } = self.plan().with(directives)?;
        self.tokens = tokens;
        self.head_delay = head_delay;
        self.first_token_delay = first_token_delay;
        self.token_delay = token_delay;
        self.burst = burst;
        self.fault = fault;
        self.retry_after = retry_after;
        Ok(self)
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            tokens: self.tokens,
            head_delay: self.head_delay,
            first_token_delay: self.first_token_delay,
            token_delay: self.token_delay,
            burst: self.burst,
            fault: self.fault,
            retry_after: self.retry_after,
        }
    }
}

impl Plan {
    /// The plan with the directives of a header: `tokens=10,cut=3`.
    pub(crate) fn with(mut self, directives: &str) -> Result<Self, DirectiveError> {
        for directive in directives
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            self.apply(directive)
                .ok_or_else(|| DirectiveError(directive.to_owned()))?;
        }
        Ok(self)
    }

    fn apply(&mut self, directive: &str) -> Option<()> {
        let alone = match directive {
            "silent" => Some(Fault::Silent),
            "nodone" => Some(Fault::NoDone),
            "error" => Some(Fault::StreamError),
            _ => None,
        };
        if alone.is_some() {
            self.fault = alone;
            return Some(());
        }
        let (name, value) = directive.split_once('=')?;
        let number: u32 = value.parse().ok()?;
        let time = Duration::from_millis(u64::from(number));
        match name {
            "tokens" => self.tokens = number,
            "head_ms" => self.head_delay = time,
            "first_ms" => self.first_token_delay = time,
            "token_ms" => self.token_delay = time,
            "burst" if number <= 1 => self.burst = number == 1,
            "status" => self.fault = Some(Fault::Refuse(u16::try_from(number).ok()?)),
            "retry" => self.retry_after = Some(number),
            "cut" => self.fault = Some(Fault::Cut(number)),
            "stall" => self.fault = Some(Fault::Stall(number)),
            "end" => self.fault = Some(Fault::EndEarly(number)),
            "proxy" => self.fault = Some(Fault::Proxy(u16::try_from(number).ok()?)),
            "long" => self.fault = Some(Fault::LongEvent(number)),
            _ => return None,
        }
        Some(())
    }

    /// How long an unstreamed answer takes.
    pub(crate) fn whole_delay(&self) -> Duration {
        self.head_delay + self.first_token_delay + self.token_delay * self.tokens.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_changes_what_it_names() {
        let plan = Script::default().plan();
        let changed = plan.with("tokens=10, token_ms=5,cut=3").unwrap();
        assert_eq!(
            changed,
            Plan {
                tokens: 10,
                token_delay: Duration::from_millis(5),
                fault: Some(Fault::Cut(3)),
                ..plan
            }
        );
        assert_eq!(plan.with("silent").unwrap().fault, Some(Fault::Silent));
        assert_eq!(plan.with("").unwrap(), plan);
        assert_eq!(changed.whole_delay(), Duration::from_millis(45));
    }

    #[test]
    fn directives_can_change_the_whole_script() {
        let script = Script::default()
            .with("first_ms=20,token_ms=10,burst=0,cut=2")
            .unwrap();
        let expected = Script {
            first_token_delay: Duration::from_millis(20),
            token_delay: Duration::from_millis(10),
            burst: false,
            fault: Some(Fault::Cut(2)),
            ..Script::default()
        };
        assert_eq!(script, expected);
        assert!(script.with("first=20").is_err());
    }

    #[test]
    fn a_typing_error_is_told() {
        for bad in [
            "cutt=3",
            "cut",
            "cut=x",
            "status=99999",
            "tokens=-1",
            "burst=2",
        ] {
            let error = Script::default().plan().with(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
