//! The body of a gateway's response.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use stream_proxy::StreamError;

use crate::{ollama_body::OllamaBody, streaming_body::StreamingBody};

/// The body of a gateway's response.
#[derive(Debug)]
pub struct GatewayBody(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Streaming(Box<StreamingBody>),
    Translated(Box<OllamaBody<GatewayBody>>),
}

impl GatewayBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(crate) fn streaming(body: StreamingBody) -> Self {
        Self(Kind::Streaming(Box::new(body)))
    }

    pub(crate) fn translated(body: OllamaBody<Self>) -> Self {
        Self(Kind::Translated(Box::new(body)))
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Streaming(body) => Pin::new(&mut **body).poll_frame(cx),
            Kind::Translated(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Streaming(body) => body.is_end_stream(),
            Kind::Translated(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streaming(body) => body.size_hint(),
            Kind::Translated(_) => SizeHint::default(),
        }
    }
}
