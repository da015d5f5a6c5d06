//! A circuit as a tower layer.
//!
//! Invariant: the permit lives in the response's future, so a response that nobody waits for gives
//! it back. Asked in `call`, not in `poll_ready`: a service that is ready and never called would
//! hold a probe's place.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::note_of;
use crate::{CallError, Circuit, Classify, Permit, Refused};

/// Puts a circuit before a service.
#[derive(Debug, Clone)]
pub struct CircuitLayer<J> {
    circuit: Circuit,
    judge: J,
}

impl<J> CircuitLayer<J> {
    /// A layer of this circuit; `judge` says what the service's errors mean.
    pub fn new(circuit: Circuit, judge: J) -> Self {
        Self { circuit, judge }
    }
}

impl<S, J: Clone> Layer<S> for CircuitLayer<J> {
    type Service = CircuitService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitService {
            inner,
            circuit: self.circuit.clone(),
            judge: self.judge.clone(),
        }
    }
}

/// A service behind a circuit.
#[derive(Debug, Clone)]
pub struct CircuitService<S, J> {
    inner: S,
    circuit: Circuit,
    judge: J,
}

impl<S, J, Request> Service<Request> for CircuitService<S, J>
where
    S: Service<Request>,
    J: Classify<S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = CircuitFuture<S::Future, J>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Failed)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = match self.circuit.try_permit(Instant::now()) {
            Ok(permit) => Asked::Granted {
                call: self.inner.call(request),
                permit: Some(permit),
            },
            Err(refused) => Asked::Refused {
                refused: Some(refused),
            },
        };
        CircuitFuture {
            asked,
            judge: self.judge.clone(),
        }
    }
}

pin_project! {
    /// The answer of a service behind a circuit.
    #[derive(Debug)]
    pub struct CircuitFuture<F, J> {
        #[pin]
        asked: Asked<F>,
        judge: J,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = AskedProjection]
    enum Asked<F> {
        Granted { #[pin] call: F, permit: Option<Permit> },
        Refused { refused: Option<Refused> },
    }
}

impl<F, J, T, E> Future for CircuitFuture<F, J>
where
    F: Future<Output = Result<T, E>>,
    J: Classify<E>,
{
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.asked.project() {
            AskedProjection::Granted { call, permit } => {
                let ended = ready!(call.poll(cx));
                if let Some(permit) = permit.take() {
                    permit.note(note_of(&ended, this.judge), Instant::now());
                }
                Poll::Ready(ended.map_err(CallError::Failed))
            }
            AskedProjection::Refused { refused } => {
                let refused = refused
                    .take()
                    .expect("a future is not polled after its end");
                Poll::Ready(Err(CallError::Refused(refused)))
            }
        }
    }
}
