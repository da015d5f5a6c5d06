//! One decision with a key, at half of the keys: dspex-flags, Unleash's SDK, flagd's evaluation engine,
//! and OpenFeature's client before a provider in memory.
//!
//! `cargo xtask bench core --rivals` runs it, in turns with the benchmarks of the workspace; by itself it
//! is `cargo bench` in this folder. Nothing here waits: what is async is polled by hand, since a runtime
//! would cost more than what is measured.
//!
//! OpenFeature's Rust SDK 0.3 has no provider in memory. The one here looks a flag up in a map and
//! answers with it, which is the least that one could do: it divides no keys.

use std::collections::HashMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll, Waker};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use dspex_flags::{Flag, Flags, MemoryStore, Percent, Write, flagd};
use flagd_evaluation_engine::Operator;
use open_feature::provider::{FeatureProvider, ProviderMetadata, ResolutionDetails};
use open_feature::{
    EvaluationContext, EvaluationError, EvaluationErrorCode, EvaluationResult, OpenFeature,
    StructValue,
};
use unleash_api_client::client::{Client, FeatureKey};
use unleash_api_client::http::{Request, Response, Transport};
use unleash_api_client::{ClientBuilder, Context};
use unleash_types::client_features::ClientFeatures;

const SHARE: Flag<Percent> = Flag {
    key: "share",
    default: Percent::ZERO,
    description: "the share that is asked for",
    owner: "bench",
};
const KEY: &str = "session-0123456789";

/// The end of a future that never waits.
fn now_or_never<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Waiting::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// Ours, with the share at half.
fn ours() -> Arc<Flags> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let flags = Flags::open(store, vec![SHARE.declaration()]).await;
        let flags = flags.expect("flags");
        let half = Percent::from_basis_points(5_000).expect("a share");
        let write = Write {
            expected: None,
            set: vec![(SHARE.key.to_owned(), half.into())],
            who: "bench".to_owned(),
            why: "to be measured".to_owned(),
        };
        flags.write(write).await.expect("a revision");
        flags
    })
}

/// The features that Unleash's client knows by name.
#[derive(Debug, Clone, Copy)]
struct Share;

impl FeatureKey for Share {
    fn name(self) -> &'static str {
        SHARE.key
    }
}

/// Nothing is fetched: the features are handed over.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn execute(&self, _: Request) -> Result<Response, anyhow::Error> {
        anyhow::bail!("there is no server")
    }
}

/// Unleash's client, with the share at half.
fn unleash() -> Client<Share> {
    let client = ClientBuilder::default()
        .disable_metric_submission()
        .into_client_with_transport(
            "http://127.0.0.1:1",
            "bench",
            "bench",
            None,
            Arc::new(Nowhere),
        )
        .expect("a client");
    let features: ClientFeatures = serde_json::from_value(serde_json::json!({
        "version": 2,
        "features": [{"name": SHARE.key, "enabled": true, "strategies": [
            {"name": "flexibleRollout",
             "parameters": {"rollout": "50", "stickiness": "userId", "groupId": SHARE.key}}]}],
    }))
    .expect("features");
    client.memoize(features).expect("they are taken");
    client
}

/// What OpenFeature's client asks: a map.
struct InMemory {
    metadata: ProviderMetadata,
    switches: HashMap<String, bool>,
}

/// What a map of switches says to whoever asks for something else.
fn another_kind<T>() -> EvaluationResult<T> {
    Err(EvaluationError::builder()
        .code(EvaluationErrorCode::TypeMismatch)
        .build())
}

#[async_trait]
impl FeatureProvider for InMemory {
    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        match self.switches.get(key) {
            Some(on) => Ok(ResolutionDetails::new(*on)),
            None => Err(EvaluationError::builder()
                .code(EvaluationErrorCode::FlagNotFound)
                .build()),
        }
    }

    async fn resolve_int_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        another_kind()
    }

    async fn resolve_float_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        another_kind()
    }

    async fn resolve_string_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        another_kind()
    }

    async fn resolve_struct_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        another_kind()
    }
}

/// The share as flagd's engine takes it: the targeting of our own export.
fn targeting(flags: &Flags) -> String {
    let definitions = flagd::export(&flags.snapshot()).expect("flagd can say it");
    definitions["flags"][SHARE.key]["targeting"].to_string()
}

fn rivals(criterion: &mut Criterion) {
    let flags = ours();
    let mut group = criterion.benchmark_group("flags");
    group.bench_function("decision with key, beside rivals", |bencher| {
        bencher.iter(|| flags.current().rollout(&SHARE, black_box(KEY)));
    });

    let unleash = unleash();
    let context = |key: &str| Context {
        user_id: Some(key.to_owned()),
        ..Context::default()
    };
    let on = (0..1_000).filter(|number| {
        let context = context(&format!("session-{number}"));
        unleash.is_enabled(Share, Some(&context), false)
    });
    assert!((400..600).contains(&on.count()), "it divides keys too");
    let asked = context(KEY);
    group.bench_function("unleash-api-client, is_enabled", |bencher| {
        bencher.iter(|| unleash.is_enabled(Share, Some(black_box(&asked)), false));
    });

    let (engine, targeting) = (Operator::new(), targeting(&flags));
    let decide = |context: &EvaluationContext| {
        let variant = engine.apply(SHARE.key, black_box(&targeting), context);
        variant.expect("a variant").as_deref() == Some("on")
    };
    for number in 0..1_000 {
        let key = format!("session-{number}");
        let context = EvaluationContext::default().with_targeting_key(&key);
        assert_eq!(
            decide(&context),
            flags.current().rollout(&SHARE, &key),
            "{key}"
        );
    }
    let asked = EvaluationContext::default().with_targeting_key(KEY);
    group.bench_function("flagd-evaluation-engine, fractional", |bencher| {
        bencher.iter(|| decide(black_box(&asked)));
    });

    let client = now_or_never(async {
        let mut api = OpenFeature::singleton_mut().await;
        let provider = InMemory {
            metadata: ProviderMetadata::new("in memory"),
            switches: HashMap::from([(SHARE.key.to_owned(), true)]),
        };
        api.set_provider(provider).await;
        api.create_client()
    });
    let ask = || now_or_never(client.get_bool_value(SHARE.key, Some(black_box(&asked)), None));
    assert!(matches!(ask(), Ok(true)), "the provider is asked");
    group.bench_function("open-feature, in memory", |bencher| {
        bencher.iter(|| black_box(ask()).is_ok());
    });
    group.finish();
}

criterion_group!(benches, rivals);
criterion_main!(benches);
