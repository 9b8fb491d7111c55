//! Random courses of an exchange: what the service and its body do, and what the client and the operator do.

use std::{future::pending, time::Duration};

use http::{Response, header};
use proptest::{collection::vec, prelude::*, sample::select};
use testkit::{Eos, Script, ScriptError};
use tokio::task::yield_now;
use tower::service_fn;

use crate::{
    probe::Probe,
    quiet::SCRIPTED,
    reading::trailers,
    subjects::{PLAIN, REVERSE, SSE, STACK, Subject, Upstream, all, reply},
};

pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Pieces of events and records, of which every frame is one.
const PIECES: [&str; 12] = [
    "",
    "x",
    "data: 1\n\n",
    "data: 2",
    "\n",
    "\n\n",
    ": c\n",
    "\r",
    "\r\n\r\n",
    "id: 3\r\nda",
    "{}\n",
    "{\"a\"",
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Data(&'static str),
    Pending,
    Sleep(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Finish {
    End,
    Trailers,
    Error,
    Panic,
    Stall,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head {
    /// After so many polls that are pending.
    After(usize),
    Never,
    Error,
    Panic,
}

/// What is said of the length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    Nothing,
    Hint,
    Header,
    /// A header that promises more than comes.
    TooLongHeader,
}

/// What the service and its body do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) head: Head,
    pub(crate) media: &'static str,
    pub(crate) length: Length,
    pub(crate) steps: Vec<Step>,
    pub(crate) finish: Finish,
    /// Whether the body's end-of-stream flag is of use.
    pub(crate) flags_its_end: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Poll,
    Abort,
    Sleep(u64),
    /// Lets other tasks have their turn.
    Yield,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) subject: &'static Subject,
    pub(crate) plan: Plan,
    pub(crate) abort_before_the_call: bool,
    pub(crate) actions: Vec<Action>,
    /// Whether the client, at last, reads what there still is. It leaves then in any case.
    pub(crate) reads_on: bool,
}

impl Plan {
    /// The data frames.
    pub(crate) fn data(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Data(data) => Some(*data),
            _ => None,
        })
    }

    fn total(&self) -> usize {
        self.data().map(str::len).sum()
    }

    /// The length that is announced to whoever looks at these.
    pub(crate) fn announced(&self, headers: bool) -> Option<usize> {
        match self.length {
            Length::Hint => Some(self.total()),
            Length::Header if headers => Some(self.total()),
            Length::TooLongHeader if headers => Some(self.total() + 3),
            _ => None,
        }
    }

    /// Whether the body's flag is set after so many data frames, of which the last is the last thing that it did.
    pub(crate) fn flagged_after(&self, frames: usize) -> bool {
        self.flags_its_end
            && self.finish == Finish::End
            && frames == self.data().count()
            && matches!(self.steps.last(), Some(Step::Data(_)))
    }

    /// Whether the body says before the first poll that nothing follows.
    pub(crate) fn flagged_at_once(&self) -> bool {
        self.flags_its_end && self.finish == Finish::End && self.steps.is_empty()
    }

    fn script(&self) -> Script {
        let script = self.steps.iter().fold(Script::new(), |script, step| match step {
            Step::Data(data) => script.data(*data),
            Step::Pending => script.pending(),
            Step::Sleep(seconds) => script.sleep(Duration::from_secs(*seconds)),
        });
        let script = match self.finish {
            Finish::End => script.end(),
            Finish::Trailers => script.trailers(trailers()),
            Finish::Error => script.error("boom"),
            Finish::Panic => script.panic(SCRIPTED),
            Finish::Stall => script.stall(),
        };
        // Nobody must come this far.
        let script = script.data("late").error("late");
        // A flag that comes true between two polls, behind a pause, is what `flags` is about.
        let with_its_end = matches!(self.steps.last(), None | Some(Step::Data(_)));
        script.eos(if self.flags_its_end && with_its_end { Eos::Truthful } else { Eos::Never })
    }

    pub(crate) fn upstream(&self, probe: &Probe) -> Upstream {
        let mut script = self.script().log_into(&probe.log);
        if self.length == Length::Hint {
            script = script.exact_size(self.total() as u64);
        }
        let mut response = reply(self.media, script);
        if let (Some(length), false) = (self.announced(true), self.length == Length::Hint) {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let (head, mut response) = (self.head, Some(response));
        Upstream::new(service_fn(move |_| answer(head, response.take().unwrap())))
    }
}

async fn answer(head: Head, response: Response<Script>) -> Result<Response<Script>, ScriptError> {
    match head {
        Head::After(polls) => {
            for _ in 0..polls {
                yield_now().await;
            }
            Ok(response)
        }
        Head::Never => pending().await,
        Head::Error => Err(ScriptError::new("refused")),
        Head::Panic => panic!("{SCRIPTED}, of a service"),
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let step = prop_oneof![
        5 => select(&PIECES[..]).prop_map(Step::Data),
        1 => Just(Step::Pending),
        1 => (1..40_u64).prop_map(Step::Sleep),
    ];
    let finish =
        select(vec![Finish::End, Finish::Trailers, Finish::Error, Finish::Panic, Finish::Stall]);
    let head = prop_oneof![
        8 => (0..2_usize).prop_map(Head::After),
        1 => Just(Head::Never),
        1 => Just(Head::Error),
        1 => Just(Head::Panic),
    ];
    let length = prop_oneof![
        6 => Just(Length::Nothing),
        1 => Just(Length::Hint),
        1 => Just(Length::Header),
        1 => Just(Length::TooLongHeader),
    ];
    let media = select(vec![PLAIN, SSE, SSE, NDJSON]);
    (head, media, length, vec(step, 0..8), finish, any::<bool>()).prop_map(
        |(head, media, length, steps, finish, flags_its_end)| Plan {
            head,
            media,
            length,
            steps,
            finish,
            flags_its_end,
        },
    )
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let action = prop_oneof![
        12 => Just(Action::Poll),
        1 => Just(Action::Abort),
        2 => (1..40_u64).prop_map(Action::Sleep),
        1 => Just(Action::Yield),
    ];
    // Every other time one of the whole stacks.
    // FirstFrame answers failed starts with a response of its own, and has a machine for that in its room.
    let ones: Vec<_> = all().filter(|subject| subject.reads_on_demand()).collect();
    let subject = prop_oneof![select(ones), select(vec![&STACK, &REVERSE])];
    (subject, plan(), prop::bool::weighted(0.05), vec(action, 0..20), any::<bool>()).prop_map(
        |(subject, plan, abort_before_the_call, actions, reads_on)| Case {
            subject,
            plan,
            abort_before_the_call,
            actions,
            reads_on,
        },
    )
}
