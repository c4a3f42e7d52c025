//! The web page of the control plane, and the event stream that feeds it.
//!
//! [`Page`] answers `/` and `/assets/…` from files in the binary, and passes everything else to the
//! service behind it. It comes before authentication: the files contain no data, so a browser may
//! load them before its user signs in. The page gets all data from the API.
//!
//! [`SessionApi`] serves `/v2/session`: a browser presents a token once, and a cookie that scripts
//! cannot read stands for it from then on.
//!
//! [`Live`] serves `GET /v2/live`: server-sent events with the history of the last half hour, and
//! then the state of the fleet once a second. The state is computed once for all clients.

mod assets;
mod history;
mod limits;
mod live;
mod page;
mod session;

#[cfg(feature = "openapi")]
mod openapi;

pub use limits::LIMITS;
pub use live::{Live, LiveConfig, Sources};
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use page::{Page, is_of_page};
pub use session::SessionApi;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
