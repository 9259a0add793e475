//! Messages that people write to the bots of apps, as DingTalk posts them.

use bytes::Buf;
use futures_util::Stream;
use warp::http::StatusCode;
use warp::http::header::EXPECT;
use warp::reply::Response;

use crate::ask::NotTaken;
use crate::http::body::Body;
use crate::http::limits::QUESTION_BYTES_MAX;
use crate::http::reply::{Fault, json};
use crate::http::{Call, Segment, answered};

/// Takes one message. DingTalk waits for two and a half seconds; the answer to the person goes its own way.
pub(crate) async fn post<S, B, E>(app: Segment, call: Call, stream: S) -> Response
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf + Send,
    E: Send,
{
    let mut body = Body::new(stream, call.head.text(EXPECT).is_some());
    let taken = take(&app.0, &call, &mut body).await;
    if taken.is_err() {
        body.discard();
    }
    answered(taken)
}

async fn take<S, B, E>(app: &str, call: &Call, body: &mut Body<S>) -> Result<Response, Fault>
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf,
{
    call.only(&[warp::http::Method::POST], "POST")?;
    let plan = call.plan();
    let app = plan.apps.get(app).filter(|app| app.ask.is_some());
    let app = app.ok_or(Fault::NoSuchApp)?;
    let (answerer, head) = (&call.site.answerer, &call.head);
    let signed = answerer.check(app, head.text("timestamp"), head.text("sign"));
    let signed = signed.map_err(refusal)?;
    let bytes = body.read(None, QUESTION_BYTES_MAX, &call.site.limits).await?;
    if let Some(answer) = answerer.take(app, signed, &bytes).map_err(refusal)? {
        tokio::spawn(answer);
    }
    Ok(json(StatusCode::OK, &serde_json::json!({"msgtype": "empty"})))
}

fn refusal(why: NotTaken) -> Fault {
    match why {
        NotTaken::Forged(_) | NotTaken::Replayed => Fault::NotOfDingTalk(why.to_string()),
        NotTaken::Unreadable(problem) => Fault::BadQuestion(problem),
        NotTaken::Busy => Fault::AnswersBusy,
    }
}
