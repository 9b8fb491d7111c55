//! The names of ends, and what a cause says.

use std::{error::Error, fmt, io};

use http_body_util::{BodyExt, Full};

use super::super::{Cause, Outcome};
use crate::{
    abort::{AbortBody, AbortHandle, AbortKind, AbortReason},
    error::{BoxError, ErrorChain},
    timeouts::{Limit, tests::hit},
};

#[test]
fn each_cause_has_its_outcome_its_stable_name_and_its_reason() {
    let error = ErrorChain::of(&io::Error::other("boom"));
    let expect = [
        (Cause::Completed, Outcome::Completed, "completed", None),
        (Cause::Disconnected, Outcome::Disconnected, "disconnected", None),
        (Cause::Failed { reason: None, error: Some(error) }, Outcome::Failed, "failed", None),
        (
            Cause::Failed { reason: Some("dns".into()), error: None },
            Outcome::Failed,
            "failed",
            Some("dns"),
        ),
        (Cause::Truncated, Outcome::Truncated, "truncated", None),
        (Cause::Aborted("stop".into()), Outcome::Aborted, "aborted", Some("stop")),
        (Cause::Aborted(AbortKind::Shutdown.into()), Outcome::Aborted, "aborted", Some("shutdown")),
        (hit(Limit::Idle), Outcome::TimedOut, "timed_out", Some("idle")),
        (
            Cause::Panicked("at the disco".into()),
            Outcome::Panicked,
            "panicked",
            Some("at the disco"),
        ),
        (Cause::Discarded, Outcome::Discarded, "discarded", None),
    ];
    for (cause, outcome, name, reason) in expect {
        assert_eq!(cause.outcome(), outcome);
        assert_eq!((outcome.as_str(), outcome.to_string()), (name, name.to_owned()));
        assert_eq!(cause.reason(), reason, "{cause:?}");
    }
}

#[test]
fn only_a_failure_has_an_error() {
    let cause = Cause::failed(&io::Error::other("boom"));
    assert_eq!(cause.error().unwrap().to_string(), "boom");
    assert_eq!((cause.outcome(), cause.reason()), (Outcome::Failed, None));
    assert!(Cause::Failed { reason: Some("dns".into()), error: None }.error().is_none());
    assert!(Cause::Completed.error().is_none());
    assert!(Cause::Aborted("stop".into()).error().is_none());
}

#[derive(Debug)]
struct Wrapper(BoxError);

impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl Error for Wrapper {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test]
async fn an_abort_is_found_however_deep_it_is_wrapped() {
    let handle = AbortHandle::new();
    let reason = AbortReason::new(AbortKind::Overload).with_text("shed");
    handle.abort(reason.clone());
    let error =
        AbortBody::new(Full::<bytes::Bytes>::from("x"), &handle).collect().await.unwrap_err();
    let wrapped = Wrapper(Wrapper(error).into());
    let Cause::Aborted(found) = Cause::failed(&wrapped) else { panic!("not found") };
    assert_eq!(found, reason);

    let Cause::Failed { error: Some(error), .. } = Cause::failed(&Wrapper("boom".into())) else {
        panic!("not a failure");
    };
    assert_eq!(error.messages(), ["wrapped", "boom"]);
}
