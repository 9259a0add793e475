//! Posts what people write to the callbacks of apps, as DingTalk does.
//!
//! A request that is not answered with 200 and a message, or `{"msgtype":"empty"}`, within two and a half seconds is
//! made again a moment later, three times in all, with the same body under a new head. This module decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::dingtalk::simulator::Desk;
use crate::dingtalk::simulator::questions::Posting;
use crate::dingtalk::{client, sign};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Requests for one message, as long as none is answered as it should be.
const ATTEMPTS_MAX: u32 = 3;
/// Before the next of them.
const PAUSE: Duration = Duration::from_secs(1);

/// What came of one request: status and body, or why there are none.
pub(super) type Answered = Result<(u16, Vec<u8>), String>;

/// Makes the requests for one message.
pub(super) async fn carry(desk: Arc<Desk>, posting: Posting) {
    for _ in 0..posting.times {
        for attempt in 1..=ATTEMPTS_MAX {
            let answered = post(&desk, &posting).await;
            if desk.called_back(&posting, &answered) {
                break;
            }
            if attempt < ATTEMPTS_MAX {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn post(desk: &Desk, posting: &Posting) -> Answered {
    let at = desk.rules().sign_at(clock::now());
    // One for each request: people write seldom.
    let client = client::without_tls(ANSWER_TIMEOUT).map_err(plainly)?;
    let response = client
        .post(&posting.url)
        .header("content-type", "application/json; charset=utf-8")
        .header("timestamp", at.0.to_string())
        .header("sign", sign::sign(&posting.secret, at))
        .body(posting.body.clone())
        .send()
        .await
        .map_err(plainly)?;
    let status = response.status().as_u16();
    Ok((status, response.bytes().await.map_err(plainly)?.to_vec()))
}

fn plainly(error: reqwest::Error) -> String {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
