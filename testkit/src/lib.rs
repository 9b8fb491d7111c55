//! Gives the tests of tower-lifeline their scripted bodies, raw clients and faulty upstreams.
//!
//! | piece | for |
//! |---|---|
//! | [`Script`] | a response body that does and hints just what a test says; [`Gate`] opens a step from outside |
//! | [`Log`] | what happened to a body and when, `note`s of hooks in between |
//! | [`Wakes`], [`poll_body`], [`drain`] | polling a body by hand, counting wakeups, reading it whole |
//! | [`H1`], [`dechunk`], [`Head`] | a client that sends, reads, stalls and leaves as told, byte for byte |
//! | [`H2`], [`H2Call`], [`H2Body`] | the same with frames, windows and resets |
//! | [`Upstream`], [`Play`] | a server that sends right or broken bytes and sees its peer leave |
//! | [`H2Upstream`], [`H2Play`] | the same over HTTP/2: it refuses streams and goes away |
//!
//! `Script` and `Log` keep tokio's time, so a test may start paused. The wire pieces use real sockets: real time there.
//! Every instant is a `tokio::time::Instant`, so a log and an upstream can be compared.
//!
//! ```
//! # use std::time::Duration;
//! # use testkit::{Event, H1, Head, Play, ReadEnd, Upstream, How, dechunk};
//! # const LIMIT: Duration = Duration::from_secs(5);
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
//!
//! let mut client = H1::connect(upstream.addr()).await.unwrap();
//! client.get("/").await.unwrap();
//! assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200));
//! let bytes = client.read_until(|bytes| bytes.ends_with(b"\n\n\r\n"), LIMIT).await.unwrap();
//! assert_eq!(dechunk(&bytes).body, b"data: 1\n\n");
//!
//! client.reset();
//! upstream.closed(0, LIMIT).await;
//! # });
//! ```

mod collect;
mod dechunk;
mod gate;
mod h1;
mod h2;
mod h2_upstream;
mod head;
mod log;
mod script;
mod upstream;
mod wakes;

pub use self::collect::{Collected, Polled, drain, poll_body};
pub use self::dechunk::{Dechunked, dechunk};
pub use self::gate::Gate;
pub use self::h1::{H1, How, ReadEnd};
pub use self::h2::{H2, H2Body, H2Call, H2Next};
pub use self::h2_upstream::{H2Conn, H2Play, H2Upstream};
pub use self::head::Head;
pub use self::log::{Event, Log};
pub use self::script::{Eos, Script, ScriptError};
pub use self::upstream::{Conn, Play, Upstream};
pub use self::wakes::Wakes;
pub use ::h2::Reason;

use std::time::Duration;

/// Bounds every wait for which a caller gives no limit.
const LIMIT: Duration = Duration::from_secs(5);
