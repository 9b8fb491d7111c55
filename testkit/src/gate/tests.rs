use std::task::Context;
use std::time::Duration;

use tokio::time::timeout;

use super::Gate;
use crate::Wakes;

#[test]
fn opening_wakes_each_who_waits_by_its_latest_waker() {
    let gate = Gate::new();
    let (one, two) = (gate.ticket(), gate.ticket());
    let (stale, fresh, other) = (Wakes::new(), Wakes::new(), Wakes::new());
    for (ticket, wakes) in [(one, &stale), (one, &fresh), (two, &other)] {
        assert!(gate.poll(ticket, &Context::from_waker(&wakes.waker())).is_pending());
    }

    gate.open();
    assert_eq!((stale.count(), fresh.count(), other.count()), (0, 1, 1));
    assert!(gate.poll(one, &Context::from_waker(&fresh.waker())).is_ready());
}

#[tokio::test(start_paused = true)]
async fn it_stays_open() {
    let gate = Gate::new();
    assert!(!gate.is_open());
    assert!(timeout(Duration::from_secs(1), gate.opened()).await.is_err());
    gate.clone().open();
    assert!(gate.is_open());
    gate.opened().await;
}
