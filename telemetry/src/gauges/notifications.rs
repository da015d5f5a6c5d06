//! How it goes with those who are told of migrations.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const DELIVERED: &str = "dspex_notifications_delivered_total";
const GIVEN_UP: &str = "dspex_notifications_given_up_total";
const BEHIND: &str = "dspex_notifications_behind";
const FAILING: &str = "dspex_notifications_failing";

/// How it goes with one receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotificationFigures {
    /// Messages that it has taken since the server started.
    pub delivered: u64,
    /// Messages that were given up since then.
    pub given_up: u64,
    /// Entries of journals that it has not been told of yet.
    pub behind: u64,
    /// Whether the last try failed.
    pub failing: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 entries of journals"
)]
pub(super) fn tell(receiver: &str, figures: NotificationFigures) {
    let receiver = || receiver.to_owned();
    counter!(DELIVERED, "receiver" => receiver()).absolute(figures.delivered);
    counter!(GIVEN_UP, "receiver" => receiver()).absolute(figures.given_up);
    gauge!(BEHIND, "receiver" => receiver()).set(figures.behind as f64);
    gauge!(FAILING, "receiver" => receiver()).set(if figures.failing { 1.0 } else { 0.0 });
}

pub(super) fn describe() {
    describe_counter!(DELIVERED, "Notifications that the receiver has taken.");
    describe_counter!(
        GIVEN_UP,
        "Notifications that were given up, because they grew too old."
    );
    describe_gauge!(
        BEHIND,
        "Entries of journals that the receiver was not told of yet."
    );
    describe_gauge!(
        FAILING,
        "1 while notifications do not arrive at the receiver."
    );
}
