//! The access tokens of apps, held in memory.
//!
//! A token is fetched when the first message needs it, and again some minutes before it ends; whoever needs one
//! meanwhile waits for the same call, and shares its failure. Tokens are not written to disk: DingTalk answers a
//! program that asks again with the same token, and does not count that call.
//!
//! Nothing here sends a message; how a token is fetched is the client's business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::alert::{Span, Timestamp};
use crate::engine::Answer;
use crate::plan::App;
use crate::secret::Secret;

/// How long before its end a token is fetched anew.
const EARLY: Span = Span::minutes(5);

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    text: Secret,
    fetched_at: Timestamp,
    renew_at: Timestamp,
}

impl Token {
    /// A token that was fetched at this time and lives for so long.
    pub(super) fn new(text: impl Into<Arc<str>>, fetched_at: Timestamp, lives: Span) -> Self {
        // One that lives for a short time only is used for half of it.
        let early = Span(EARLY.0.min(lives.0 / 2));
        Self {
            text: Secret::new(text),
            fetched_at,
            renew_at: fetched_at.plus(Span(lives.0 - early.0)),
        }
    }

    pub(super) const fn text(&self) -> &Secret {
        &self.text
    }

    /// A clock that was set back says nothing about a token's age.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.fetched_at <= now && now < self.renew_at
    }
}

/// A fetch, done or under way.
type Fetch = Arc<OnceCell<Result<Token, Answer>>>;

/// The tokens of all apps. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<Mutex<BTreeMap<Key, Fetch>>>);

/// Whose token: another secret of the same app is another question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    base_url: String,
    app: String,
    secret_sha256: [u8; 32],
}

impl Key {
    fn of(app: &App) -> Self {
        use sha2::Digest as _;
        Self {
            base_url: app.base_url.clone(),
            app: app.key.clone(),
            secret_sha256: sha2::Sha256::digest(app.secret.expose()).into(),
        }
    }
}

impl Tokens {
    /// A token of the app that is fresh, and not `refused`.
    pub(super) async fn get(
        &self,
        app: &App,
        refused: Option<&Token>,
        now: Timestamp,
        fetch: impl Future<Output = Result<Token, Answer>>,
    ) -> Result<Token, Answer> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = cells.entry(Key::of(app)).or_default();
            let is_of_use = |done: &Result<Token, Answer>| {
                (done.as_ref()).is_ok_and(|token| token.is_fresh(now) && Some(token) != refused)
            };
            if cell.get().is_some_and(|done| !is_of_use(done)) {
                *cell = Fetch::default();
            }
            Arc::clone(cell)
        };
        cell.get_or_init(|| fetch).await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::engine::Outcome;

    fn app(secret: &str) -> App {
        App::of_tests("key", secret, "http://127.0.0.1:1")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + seconds * 1000)
    }

    /// Counts the fetches, each with a token of its own that lives for two hours.
    struct Source(AtomicU32);

    impl Source {
        async fn get(&self, tokens: &Tokens, secret: &str, refused: Option<&Token>, now: Timestamp) -> Token {
            let fetch = async {
                tokio::task::yield_now().await;
                let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(Token::new(format!("t{number}"), now, Span::hours(2)))
            };
            tokens.get(&app(secret), refused, now, fetch).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_token_is_fetched_once_for_all_and_again_five_minutes_before_its_end() {
        let (tokens, source) = (Tokens::default(), Source(AtomicU32::new(0)));
        let get = |now| source.get(&tokens, "s", None, now);
        let (one, other) = tokio::join!(get(at(0)), get(at(0)));
        assert_eq!((one.text.expose(), &one), ("t1", &other));
        assert_eq!(get(at(6899)).await, one);
        assert_eq!(get(at(6900)).await.text.expose(), "t2");
        assert_eq!(get(at(0)).await.text.expose(), "t3", "the clock was set back");
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_however_many_were_refused_with_it() {
        let (tokens, source) = (Tokens::default(), Source(AtomicU32::new(0)));
        let first = source.get(&tokens, "s", None, at(0)).await;
        let renew = || source.get(&tokens, "s", Some(&first), at(1));
        let (one, other) = tokio::join!(renew(), renew());
        assert_eq!((one.text.expose(), &one), ("t2", &other));
        assert_eq!(renew().await, one);
    }

    #[tokio::test]
    async fn another_secret_has_another_token() {
        let (tokens, source) = (Tokens::default(), Source(AtomicU32::new(0)));
        source.get(&tokens, "s", None, at(0)).await;
        assert_eq!(source.get(&tokens, "r", None, at(0)).await.text.expose(), "t2");
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_wait_and_forgotten_by_the_next() {
        let (tokens, calls) = (Tokens::default(), AtomicU32::new(0));
        let get = || {
            let fetch = async {
                tokio::task::yield_now().await;
                calls.fetch_add(1, Ordering::Relaxed);
                Err(Answer::new(Outcome::Retry, ""))
            };
            let tokens = &tokens;
            async move { tokens.get(&app("s"), None, at(0), fetch).await }
        };
        let (one, other) = tokio::join!(get(), get());
        assert!(one.is_err() && other.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(get().await.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = Token::new("t0ken", at(0), Span::hours(2));
        assert!(!format!("{token:?}").contains("t0ken"));
    }
}
