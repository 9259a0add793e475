//! The one loop: inputs into the engine, its changes into the store, its effects into the world — in this order.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use crate::alert::{Alert, ReceiverName, SourceName};
use crate::engine::Verdict;
use crate::engine::view::{AlertList, AlertQuery, BotView, Counts, ReceiverView};
use crate::store::{RefusedBody, Told};

/// Why an alert could not be taken responsibility for; all of them mean "try again later".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unavailable {
    /// The inbox is full.
    #[error("too many requests are waiting to be stored; try again shortly")]
    InboxFull,
    /// The store cannot write.
    #[error("the store cannot write at the moment; try again later")]
    StoreFailed,
    /// We are shutting down.
    #[error("shutting down; try again in a moment")]
    ShuttingDown,
}

/// The way for everybody else to reach the one task that owns the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Ask>);

/// What is asked of the driver. A reply that is dropped unsent means that the driver is gone.
#[derive(Debug)]
pub enum Ask {
    /// Take alerts over; answered once they are durable.
    Accept {
        /// The source they were posted to.
        source: SourceName,
        /// In the order of the body.
        alerts: Vec<Alert>,
        /// What became of them.
        reply: oneshot::Sender<Result<BTreeMap<Verdict, u32>, Unavailable>>,
    },
    /// List alerts.
    Alerts {
        /// Which.
        query: AlertQuery,
        /// The list.
        reply: oneshot::Sender<AlertList>,
    },
    /// List digests of the history, newest first.
    Digests {
        /// Of this receiver, or of all.
        receiver: Option<ReceiverName>,
        /// At most so many.
        limit: usize,
        /// The list.
        reply: oneshot::Sender<Result<Vec<Told>, Unavailable>>,
    },
    /// Say how everything is.
    Health {
        /// The snapshot.
        reply: oneshot::Sender<Health>,
    },
    /// Keep a refused body to be looked at.
    KeepRefused(RefusedBody),
}

/// What has been going on, for `/api/v1/status`, `/readyz` and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the store takes writes.
    pub store_writable: bool,
    /// Numbers of the engine.
    pub counts: Counts,
    /// Every receiver.
    pub receivers: Vec<ReceiverView>,
    /// Every bot, also those no receiver uses.
    pub bots: Vec<BotView>,
}

impl Handle {
    /// A handle on the driver that reads the other end. The channel's capacity bounds what may wait.
    pub fn new(inbox: mpsc::Sender<Ask>) -> Self {
        Self(inbox)
    }

    /// Hands alerts over and returns once they are durable, with what became of each.
    pub async fn accept(
        &self,
        source: SourceName,
        alerts: Vec<Alert>,
    ) -> Result<BTreeMap<Verdict, u32>, Unavailable> {
        self.ask(|reply| Ask::Accept {
            source,
            alerts,
            reply,
        })
        .await?
    }

    /// Keeps a refused body (best effort: dropped when the inbox is full).
    pub fn keep_refused(&self, body: RefusedBody) {
        // Nothing is owed to a body that was refused.
        let _best_effort = self.0.try_send(Ask::KeepRefused(body));
    }

    /// The alerts that match.
    pub async fn alerts(&self, query: AlertQuery) -> Result<AlertList, Unavailable> {
        self.ask(|reply| Ask::Alerts { query, reply }).await
    }

    /// The newest digests first.
    pub async fn digests(
        &self,
        receiver: Option<ReceiverName>,
        limit: usize,
    ) -> Result<Vec<Told>, Unavailable> {
        self.ask(|reply| Ask::Digests {
            receiver,
            limit,
            reply,
        })
        .await?
    }

    /// How everything is.
    pub async fn health(&self) -> Result<Health, Unavailable> {
        self.ask(|reply| Ask::Health { reply }).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(ask(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Unavailable::InboxFull,
            mpsc::error::TrySendError::Closed(_) => Unavailable::ShuttingDown,
        })?;
        answer.await.map_err(|_| Unavailable::ShuttingDown)
    }
}
