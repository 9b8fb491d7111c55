use super::Wakes;

#[test]
fn every_wakeup_by_any_clone_of_the_waker_counts() {
    let wakes = Wakes::new();
    assert_eq!(wakes.count(), 0);
    wakes.waker().wake();
    wakes.waker().clone().wake_by_ref();
    assert_eq!(wakes.count(), 2);
    assert!(wakes.waker().will_wake(&wakes.waker()));
    assert!(!wakes.waker().will_wake(&Wakes::new().waker()));
}
