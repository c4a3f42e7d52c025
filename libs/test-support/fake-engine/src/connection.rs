//! One connection: requests in, answers or misbehaviour out.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    answer::{Api, Prepared, STREAM_END, STREAM_HEAD, chunk, error, page, refusal, text},
    request::{Asked, Request},
    responses,
    script::{Fault, Plan, SCRIPT_HEADER},
    shared::Shared,
    stats::{Outcome, Running},
};

/// Output is gathered up to this many bytes before it is written: large writes when tokens take no
/// time.
const BATCH: usize = 64 * 1024;

/// How long a client may take until its next request; then the connection is closed without a word,
/// as `llama-server` and vLLM do it.
const IDLE: Duration = Duration::from_secs(5);

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

pub(crate) struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            shared,
            input: Vec::with_capacity(4096),
            output: Vec::with_capacity(4096),
        }
    }

    /// Serves until either side is done.
    pub(crate) async fn serve(mut self) {
        // An error means that the client is gone; what matters of it is in the counters.
        while let Ok(Some(request)) = self.next_request().await {
            match self.answer(&request).await {
                Ok(Next::Keep) => {}
                Ok(Next::Close) | Err(_) => return,
            }
        }
    }

    async fn next_request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, length)) = Request::parse(&self.input)? {
                self.input.drain(..length);
                return Ok(Some(request));
            }
            let Ok(read) = tokio::time::timeout(IDLE, self.stream.read_buf(&mut self.input)).await
            else {
                return Ok(None);
            };
            if read? == 0 {
                return Ok(None);
            }
        }
    }

    async fn answer(&mut self, request: &Request) -> io::Result<Next> {
        let prepared = self.shared.prepared();
        if prepared.script.hung {
            return Err(self.hold().await);
        }
        let shared = Arc::clone(&self.shared);
        let api = match (request.method.as_str(), request.route()) {
            ("POST", "/v1/chat/completions") => Some(Api::Chat),
            ("POST", "/v1/completions") => Some(Api::Completion),
            ("POST", "/v1/embeddings") => None,
            ("POST", responses::PATH) => {
                return self.create_response(&prepared, request).await;
            }
            (method, path) if path.starts_with(responses::PATH) => {
                return self.send(&shared.responses.stored(method, path)).await;
            }
            ("GET", path) => {
                let known = prepared.state(path, &shared.counters.snapshot());
                return self
                    .send(&known.unwrap_or_else(|| error(404, "File Not Found")))
                    .await;
            }
            _ => return self.send(&error(404, "File Not Found")).await,
        };
        let Ok(asked) = request.asked() else {
            return self
                .send(&error(400, "the body is not a JSON object"))
                .await;
        };
        let plan = match prepared
            .script
            .plan()
            .with(request.header(SCRIPT_HEADER).unwrap_or_default())
        {
            Ok(plan) => plan,
            Err(bad) => return self.send(&error(400, &bad.to_string())).await,
        };
        let mut running = shared.counters.begin(request, asked.stream);
        // When the client goes, `?` drops `running`, which then counts as cancelled.
        let outcome = match (plan.fault, api) {
            (Some(Fault::Refuse(status)), _) => {
                self.pause(plan.head_delay).await?;
                self.send_last(&refusal(status, plan.retry_after), &mut running)
                    .await?;
                Outcome::Finished
            }
            (Some(Fault::Proxy(status)), _) => {
                self.send_last(&page(status), &mut running).await?;
                Outcome::Finished
            }
            (Some(Fault::Silent), _) => return Err(self.hold().await),
            (_, Some(api)) if asked.stream => {
                self.stream_answer(&prepared, api, plan, &asked, &mut running)
                    .await?
            }
            (_, Some(api)) => {
                let tokens = wanted(plan, &asked);
                let answer = prepared.whole(api, tokens);
                self.whole_answer(&answer, Plan { tokens, ..plan }, &mut running)
                    .await?
            }
            (_, None) => {
                let answer = prepared.embeddings(&request.body);
                self.whole_answer(&answer, Plan { tokens: 1, ..plan }, &mut running)
                    .await?
            }
        };
        running.end(outcome);
        Ok(if outcome == Outcome::Broken {
            Next::Close
        } else {
            Next::Keep
        })
    }

    /// Stores a response and sends it at once.
    async fn create_response(
        &mut self,
        prepared: &Prepared,
        request: &Request,
    ) -> io::Result<Next> {
        let shared = Arc::clone(&self.shared);
        let mut running = shared.counters.begin(request, false);
        let tokens = prepared.script.tokens;
        let created =
            shared
                .responses
                .create(&prepared.script, &request.body, &text(tokens), tokens);
        self.send_last(&created, &mut running).await?;
        running.end(Outcome::Finished);
        Ok(Next::Keep)
    }

    async fn stream_answer(
        &mut self,
        prepared: &Prepared,
        api: Api,
        plan: Plan,
        asked: &Asked,
        running: &mut Running<'_>,
    ) -> io::Result<Outcome> {
        let frames = prepared.frames(api);
        let tokens = wanted(plan, asked);
        self.pause(plan.head_delay).await?;
        self.output.extend_from_slice(STREAM_HEAD);
        if plan.fault == Some(Fault::StreamError) {
            let event = r#"{"error":{"message":"failed by script","type":"fake","code":500}}"#;
            self.output.extend_from_slice(&chunk(event));
            self.send_last(STREAM_END, running).await?;
            return Ok(Outcome::Finished);
        }
        self.pause(plan.first_token_delay).await?;
        self.output.extend_from_slice(&frames.first);
        self.written(plan).await?;
        for n in 0..=tokens {
            if n > 0 && n < tokens {
                self.pause(plan.token_delay).await?;
            }
            match plan.fault {
                Some(Fault::Cut(at)) if at == n => {
                    // Less than half: the piece must not look like a whole token to a lenient
                    // reader.
                    let chunk = frames.word(n);
                    self.output
                        .extend_from_slice(chunk.get(..chunk.len() / 4).unwrap_or_default());
                    self.flush().await?;
                    return Ok(Outcome::Broken);
                }
                Some(Fault::Stall(at)) if at == n => return Err(self.hold().await),
                Some(Fault::EndEarly(at)) if at == n => {
                    self.send_last(STREAM_END, running).await?;
                    return Ok(Outcome::Broken);
                }
                _ => {}
            }
            if n < tokens {
                self.output.extend_from_slice(frames.word(n));
            }
            self.written(plan).await?;
        }
        if let Some(Fault::LongEvent(bytes)) = plan.fault {
            let text = "x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX));
            let event = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
            self.output.extend_from_slice(&chunk(&event));
        }
        self.output.extend_from_slice(&frames.last);
        self.written(plan).await?;
        if asked
            .stream_options
            .is_some_and(|options| options.include_usage)
        {
            self.output.extend_from_slice(&prepared.usage_frame(tokens));
        }
        if plan.fault != Some(Fault::NoDone) {
            self.output.extend_from_slice(&frames.done);
        }
        self.send_last(STREAM_END, running).await?;
        Ok(Outcome::Finished)
    }

    async fn whole_answer(
        &mut self,
        answer: &[u8],
        plan: Plan,
        running: &mut Running<'_>,
    ) -> io::Result<Outcome> {
        self.pause(plan.whole_delay()).await?;
        // In the middle of the body, which is the longer part and the last.
        let middle = answer.len() - answer.len() / 4;
        match plan.fault {
            Some(Fault::Cut(_) | Fault::EndEarly(_)) => {
                self.send(answer.get(..middle).unwrap_or_default()).await?;
                Ok(Outcome::Broken)
            }
            Some(Fault::Stall(_)) => {
                self.output
                    .extend_from_slice(answer.get(..middle).unwrap_or_default());
                Err(self.hold().await)
            }
            _ => {
                self.send_last(answer, running).await?;
                Ok(Outcome::Finished)
            }
        }
    }

    /// Sends the end of an answer. A real engine frees its slot before it writes the last bytes, so
    /// that a client which sends its next request at once meets a free one.
    async fn send_last(&mut self, bytes: &[u8], running: &mut Running<'_>) -> io::Result<()> {
        running.free_slot();
        self.send(bytes).await?;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<Next> {
        self.output.extend_from_slice(bytes);
        self.flush().await?;
        Ok(Next::Keep)
    }

    /// After each piece of a stream: on its way, or kept for a larger write.
    async fn written(&mut self, plan: Plan) -> io::Result<()> {
        if plan.burst && self.output.len() < BATCH {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Writes what there is and lets `time` pass; an error when the client goes meanwhile.
    async fn pause(&mut self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        self.flush().await?;
        match tokio::time::timeout(time, self.gone()).await {
            Ok(error) => Err(error),
            // The time has passed, and the client is still there.
            Err(_) => Ok(()),
        }
    }

    /// Writes what there is and does nothing until the client goes.
    async fn hold(&mut self) -> io::Error {
        match self.flush().await {
            Ok(()) => self.gone().await,
            Err(error) => error,
        }
    }

    /// Waits for the client to go; what it sends until then is kept for later.
    async fn gone(&mut self) -> io::Error {
        loop {
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}

fn wanted(plan: Plan, asked: &Asked) -> u32 {
    asked
        .max_tokens
        .map_or(plan.tokens, |most| most.min(plan.tokens))
}
