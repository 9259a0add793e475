//! What the engine in memory answers at once: how everything is, that something is to be told now, whether an answer
//! may be sent and what came of it.
//!
//! Nothing here waits or sends; what it changes is written with the next commit.

use tokio::sync::oneshot;

use crate::alert::{AppName, Now, ReceiverName};
use crate::driver::Health;
use crate::driver::steering::Steering;
use crate::engine::Answer;
use crate::engine::answering::NoAnswer;
use crate::engine::view::{AlertList, AlertQuery, Explained};

/// A question, and where its answer goes. A reply that is dropped unsent means that the driver is gone.
#[derive(Debug)]
pub enum Question {
    /// List alerts.
    Alerts {
        /// Which.
        query: AlertQuery,
        /// The list.
        reply: oneshot::Sender<AlertList>,
    },
    /// Explain alerts.
    Explain {
        /// Which.
        query: AlertQuery,
        /// The explanations.
        reply: oneshot::Sender<Explained>,
    },
    /// Tell these receivers now what they were to be told after a wait.
    Hasten {
        /// Who.
        receivers: Vec<ReceiverName>,
        /// How many changes there are.
        reply: oneshot::Sender<u64>,
    },
    /// Let an answer be sent in the name of an app to who asked its bot.
    BeginAnswer {
        /// Which.
        app: AppName,
        /// Whether it may.
        reply: oneshot::Sender<Result<(), NoAnswer>>,
    },
    /// An answer that was let was sent in the name of this app: what came of it.
    EndAnswer(AppName, Answer),
    /// Say how everything is.
    Health {
        /// The snapshot.
        reply: oneshot::Sender<Health>,
    },
}

impl Question {
    /// Asks it. Somebody who asked and went away is owed nothing.
    pub fn put(self, steering: &mut Steering, now: Now) {
        match self {
            Self::Alerts { query, reply } => {
                steering.wake(now);
                let _gone = reply.send(steering.engine().alerts(&query));
            }
            Self::Explain { query, reply } => {
                steering.wake(now);
                let _gone = reply.send(steering.engine().explain(&query));
            }
            Self::Hasten { receivers, reply } => {
                let changes = steering.hasten(receivers, now);
                let _gone = reply.send(changes);
            }
            Self::BeginAnswer { app, reply } => {
                let _gone = reply.send(steering.begin_answer(&app, now));
            }
            Self::EndAnswer(app, answer) => steering.end_answer(app, answer, now),
            Self::Health { reply } => {
                steering.wake(now);
                let _gone = reply.send(health(steering));
            }
        }
    }
}

fn health(steering: &Steering) -> Health {
    let engine = steering.engine();
    Health {
        store_writable: steering.is_writable(),
        counts: engine.counts(),
        receivers: engine.receivers(),
        endpoints: engine.endpoints(),
    }
}
