//! SIGTERM and SIGINT: the first asks the server to end, the second ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A token that the first signal cancels.
///
/// # Errors
/// Where the system refuses the handlers.
pub(super) fn stop(tracker: &TaskTracker) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tracker.spawn(async move {
        let first = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first.0, "asked to end; once more ends at once");
        told.cancel();
        let (name, number) = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once");
        // Workers die with us: the kernel sees to it.
        std::process::exit(128 + number);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
