//! Keeps the panics that tests make by the thousand off the terminal.

use std::{panic, sync::Once};

/// What the message of such a panic begins with.
pub(crate) const SCRIPTED: &str = "scripted panic";

/// Writes, and traces, no panic whose message begins with [`SCRIPTED`].
pub(crate) fn hush_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = info.payload().downcast_ref::<String>().map_or("", String::as_str);
            if !message.starts_with(SCRIPTED) {
                others(info);
            }
        }));
    });
}
