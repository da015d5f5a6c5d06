//! What a closed circuit costs a call, beside what others cost it.
//!
//! Everything is measured in one process, one after the other. `permit and record` is what the
//! router does: it has read the clock anyway. The others have no such interface; their `call` takes a
//! closure. Beside one that reads the clock stands ours that reads it too, before and after; beside one
//! that counts calls and reads none, ours that is handed the time. The services are polled by hand, since
//! a runtime would cost more than what is measured.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use dspex_breaker::{Circuit, CircuitConfig, Draw, RetryBudget};
use failsafe::CircuitBreaker as _;
use tokio::time::Instant;

fn circuit(window_calls: Option<u32>) -> Circuit {
    let config = CircuitConfig {
        window_calls,
        ..CircuitConfig::default()
    };
    Circuit::new("bench", config).expect("the default is valid")
}

/// The end of a future that never waits.
fn now_or_never<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn ours(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("breaker");
    for (name, window_calls) in [
        ("permit and record", None),
        ("permit and record, last 100 calls", Some(100)),
    ] {
        let circuit = circuit(window_calls);
        let now = Instant::now();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let now = black_box(now);
                let permit = circuit.try_borrow(now).expect("it is closed");
                permit.success(now);
            });
        });
    }
    let owned = circuit(None);
    let now = Instant::now();
    group.bench_function("permit and record, an owned permit", |bencher| {
        bencher.iter(|| {
            let now = black_box(now);
            let permit = owned.try_permit(now).expect("it is closed");
            permit.success(now);
        });
    });
    let with_clock = circuit(None);
    group.bench_function("permit and record, two clock readings", |bencher| {
        bencher.iter(|| {
            let permit = with_clock.try_borrow(Instant::now()).expect("it is closed");
            permit.success(Instant::now());
        });
    });
    let failing = Circuit::new(
        "bench",
        CircuitConfig {
            failure_rate: 1.0,
            consecutive_failures: u32::MAX,
            ..CircuitConfig::default()
        },
    )
    .expect("these are valid");
    let now = Instant::now();
    failing.try_permit(now).expect("it is closed").success(now);
    group.bench_function("permit and record, a failure", |bencher| {
        bencher.iter(|| {
            let now = black_box(now);
            failing
                .try_permit(now)
                .expect("one has succeeded")
                .failure(now);
        });
    });
    let open = circuit(None);
    open.trip(now);
    group.bench_function("refused by an open circuit", |bencher| {
        bencher.iter(|| black_box(open.try_permit(black_box(now)).is_err()));
    });
    let budget = RetryBudget::new(dspex_breaker::BudgetConfig::default()).expect("valid");
    group.bench_function("budget, deposit", |bencher| {
        bencher.iter(|| budget.deposit(black_box(now)));
    });
    group.bench_function("budget, withdraw", |bencher| {
        bencher.iter(|| black_box(budget.withdraw(Draw::Retry, black_box(now))));
    });
    group.finish();
}

/// `DSPEX_BENCH_RIVALS=0` leaves the others out.
fn with_rivals() -> bool {
    std::env::var("DSPEX_BENCH_RIVALS").map_or(true, |value| value != "0")
}

/// Each of ours is measured next to the one that it is held against, so that what else the machine does
/// in the meantime is nearly the same for both.
fn rivals(criterion: &mut Criterion) {
    if !with_rivals() {
        return;
    }
    let mut group = criterion.benchmark_group("breaker");
    let ours = circuit(None);
    group.bench_function(
        "permit and record, two clock readings, beside rivals",
        |bencher| {
            bencher.iter(|| {
                let permit = ours.try_borrow(Instant::now()).expect("it is closed");
                let answered: Result<(), Infallible> = black_box(Ok(()));
                permit.success(Instant::now());
                answered.is_ok()
            });
        },
    );
    let failsafe = failsafe::Config::new().build();
    group.bench_function("failsafe, call", |bencher| {
        bencher.iter(|| black_box(failsafe.call(|| Ok::<_, Infallible>(()))).is_ok());
    });
    let ours = circuit(Some(100));
    let now = Instant::now();
    group.bench_function(
        "permit and record, last 100 calls, beside rivals",
        |bencher| {
            bencher.iter(|| {
                let now = black_box(now);
                let permit = ours.try_borrow(now).expect("it is closed");
                let answered: Result<(), Infallible> = black_box(Ok(()));
                permit.success(now);
                answered.is_ok()
            });
        },
    );
    let recloser = recloser::Recloser::custom().closed_len(100).build();
    group.bench_function("recloser, call", |bencher| {
        bencher.iter(|| black_box(recloser.call(|| Ok::<_, Infallible>(()))).is_ok());
    });
    group.finish();
}

#[cfg(feature = "tower")]
fn services(criterion: &mut Criterion) {
    use dspex_breaker::{CircuitLayer, Classified, ErrorClass};
    use tower::{Layer, Service, service_fn};
    use tower_resilience_circuitbreaker::CircuitBreakerLayer;

    async fn answer(asked: u64) -> Result<u64, &'static str> {
        Ok(asked)
    }
    let mut group = criterion.benchmark_group("breaker");
    let judge = |_: &&'static str| Classified::of(ErrorClass::System);
    let mut ours = CircuitLayer::new(circuit(Some(100)), judge).layer(service_fn(answer));
    group.bench_function("tower layer", |bencher| {
        bencher.iter(|| black_box(now_or_never(ours.call(black_box(1)))).is_ok());
    });
    if !with_rivals() {
        return;
    }
    let layer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .build()
        .expect("these are valid");
    let mut theirs = layer.layer(service_fn(answer));
    group.bench_function("tower-resilience-circuitbreaker, tower layer", |bencher| {
        bencher.iter(|| black_box(now_or_never(theirs.call(black_box(1)))).is_ok());
    });
    group.finish();
}

#[cfg(not(feature = "tower"))]
fn services(_: &mut Criterion) {}

criterion_group!(benches, ours, rivals, services);
criterion_main!(benches);
