//! The control plane's web page, and the stream that keeps it live.
//!
//! [`Page`] answers `/` and `/assets/…` from files that are part of the binary, and gives
//! everything else to the service behind it. It stands before the doorkeeper: the files are the
//! same for everybody and tell nothing, so a browser may load them before its user has signed in.
//! What the page shows it asks for by the routes of the API, with the token that its user gave.
//!
//! [`Live`] is one of those routes: `GET /v2/live`, server-sent events that begin with what the
//! last half hour was like and go on with the state of the fleet, once a second. What is told is
//! computed once, however many listen.

mod assets;
mod history;
mod limits;
mod live;
mod page;

#[cfg(feature = "openapi")]
mod openapi;

pub use limits::LIMITS;
pub use live::{Live, LiveConfig, Sources};
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use page::{Page, is_of_page};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
