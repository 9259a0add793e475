//! The network and the clocks below the product's own client, without a network and without clocks: what the client
//! wants is put down here, and the world answers it when it is time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dingest::alert::Timestamp;
use dingest::dingtalk::client::{ClientError, Outside, Request, Response};
use dingest::engine::{Answer, Outcome};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

/// Where an answer to a request goes.
pub(crate) type Reply = oneshot::Sender<Result<Response, Answer>>;

/// A request that the client makes.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The task that makes it.
    pub(crate) task: u64,
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Option<Arc<[u8]>>,
    pub(crate) reply: Reply,
}

/// Something the client waits for.
#[derive(Debug)]
pub(crate) enum Wish {
    Exchange(Exchange),
    Pause(Duration, oneshot::Sender<()>),
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Virtual(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    time: i64,
    task: u64,
    wishes: Vec<Wish>,
}

impl Virtual {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock shows this from now on.
    pub(crate) fn set_time(&self, time: Timestamp) {
        self.state().time = time.0;
    }

    /// What is wished for next, this task wishes for.
    pub(crate) fn enter(&self, task: u64) {
        self.state().task = task;
    }

    /// What was wished for since this was asked last.
    pub(crate) fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut self.state().wishes)
    }
}

impl Outside for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp(self.state().time)
    }

    fn pause(&self, span: Duration) -> BoxFuture<'static, ()> {
        let (over, pause) = oneshot::channel();
        self.state().wishes.push(Wish::Pause(span, over));
        Box::pin(async move {
            // A world that ends lets nobody wait.
            let _ended = pause.await;
        })
    }

    fn check<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn exchange<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Answer>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        let exchange = Exchange {
            task: state.task,
            url: request.url.to_owned(),
            token: request.token.map(|token| token.expose().to_owned()),
            body: request.body,
            reply,
        };
        state.wishes.push(Wish::Exchange(exchange));
        Box::pin(async move {
            let lost = |_| Err(Answer::new(Outcome::Unknown, "the world has ended"));
            answer.await.unwrap_or_else(lost)
        })
    }
}
