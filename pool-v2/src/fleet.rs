//! How many slots there are, and the task of each.
//!
//! Invariant: the slots from 0 to the size, and as many more as the overflow, have a task; a slot
//! beyond them is dismissed, and its task ends once its calls have gone elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::dispatcher::Kind;
use crate::slot::{Keeper, Shared};

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    stop: CancellationToken,
    manned: Mutex<Vec<Option<Post>>>,
}

/// A slot with a task.
#[derive(Debug)]
struct Post {
    dismissed: CancellationToken,
    /// Cancelled by the task's end.
    ended: CancellationToken,
}

impl Fleet {
    pub(crate) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            shared,
            stop,
            manned: Mutex::default(),
        }
    }

    /// Brings the pool to this many slots. May be called as often as one likes: what is on its way
    /// is left to arrive.
    pub(crate) fn bring_to(&self, size: usize, overflow: usize) {
        let mut manned = self.manned.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = size + overflow;
        if manned.len() < wanted {
            manned.resize_with(wanted, || None);
        }
        for (slot, post) in manned.iter_mut().enumerate() {
            if post.as_ref().is_some_and(|post| post.ended.is_cancelled()) {
                *post = None;
            }
            if slot >= wanted {
                if let Some(post) = post {
                    post.dismissed.cancel();
                }
                continue;
            }
            let kind = if slot < size {
                Kind::Regular
            } else {
                Kind::Overflow
            };
            match post {
                // It comes back with the next call, once it has gone.
                Some(post) if post.dismissed.is_cancelled() => {}
                Some(_) => self.shared.dispatcher.want(slot, kind),
                None => {
                    self.shared.dispatcher.want(slot, kind);
                    *post = Some(self.man(slot));
                }
            }
        }
    }

    fn man(&self, slot: usize) -> Post {
        let post = Post {
            dismissed: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let keeper = Keeper {
            slot,
            shared: Arc::clone(&self.shared),
            stop: self.stop.clone(),
            dismissed: post.dismissed.clone(),
        };
        let ended = post.ended.clone().drop_guard();
        self.shared.tracker.spawn(async move {
            keeper.run().await;
            drop(ended);
        });
        post
    }
}
