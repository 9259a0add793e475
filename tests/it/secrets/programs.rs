//! The programs beside the daemon that know secrets, and a process that panics with all of them in its hands.

use std::process::Command;
use std::sync::Arc;

use dingest::alert::{Alert, Fingerprint, Labels, Status, Timestamp};
use dingest::config::Loaded;
use dingest::dingtalk::Client;
use dingest::driver::{Driver, Handle};
use dingest::store::{Changes, RefusedBody, Saved, Store, StoreError, Told};
use dingest::telemetry::Metrics;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::marks::{APP_KEY, APP_SECRET, BEARER, SECRET, TOKEN, WRONG};
use super::{Exhibits, command, home, output, rest};
use crate::daemon::configuration;
use crate::talking::Talking;

/// The name of the test that [`of_panics`] runs in a process of its own.
const PANICS: &str = "secrets::programs::a_panic_of_the_store_ends_the_driver";

/// The stand-in as a program, called rightly and wrongly.
pub(super) async fn of_a_stand_in(exhibits: &mut Exhibits) {
    let bot = format!("ops@group:{TOKEN}:{SECRET}");
    let app = format!("alerts:{APP_KEY}:{APP_SECRET}");
    let program = Talking::start(&[
        "simulate-dingtalk",
        "--listen",
        "127.0.0.1:0",
        "--bot",
        &bot,
        "--app",
        &app,
        "--person",
        "Ann:ann",
    ]);
    let (program, url) = program.says("chat").await;
    let url = url.trim_end_matches('/');
    let home = home(url);
    let sent = output(command(&home, &["send", "ops"])).await;
    assert!(sent.status.success(), "{sent:?}");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let wrong = [
        format!("/robot/send?access_token={WRONG}"),
        format!("/robot/send?access_token={TOKEN}&timestamp=1&sign={SECRET}"),
        format!("/robot/send?access_token={TOKEN}"),
        format!("/{TOKEN}?{SECRET}"),
    ];
    for path in wrong {
        let body = r#"{"msgtype":"text","text":{"content":"hello"}}"#;
        let request = http
            .post(format!("{url}{path}"))
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        exhibits.show("the pages of the stand-in", "an answer", text);
    }
    for page in ["/", "/_sim/messages", "/_sim/stats", "/_sim/faults"] {
        let answer = http.get(format!("{url}{page}")).send().await.expect("an answer");
        exhibits.show(
            "the pages of the stand-in",
            page,
            answer.text().await.expect("a body"),
        );
    }
    let last = program.stop().await;
    assert!(last.status.success(), "{last:?}");
    let printed = String::from_utf8_lossy(&last.stdout);
    assert!(
        printed.contains("ops in `group`: dingest\n\nThis is a test message"),
        "{printed}"
    );
    exhibits.show_output("the words of `simulate-dingtalk`", "a day's work", &last);
}

/// The demonstration, up to its storm.
pub(super) async fn of_a_demonstration(exhibits: &mut Exhibits) {
    let program = Talking::start(&["demo", "--listen", "127.0.0.1:0", "--chat", "127.0.0.1:0"]);
    let (program, chat) = program.says("chats").await;
    let (program, daemon) = program.says("daemon").await;
    let (program, _) = program.says("an uplink fails").await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let daemon = daemon.trim_end_matches("/api/v1/receivers");
    let pages = [
        "/api/v1/status",
        "/api/v1/receivers",
        "/api/v1/digests",
        "/metrics",
    ];
    let pages = pages.map(|page| format!("{daemon}{page}"));
    for page in pages
        .into_iter()
        .chain([format!("{chat}_sim/messages"), chat.clone()])
    {
        let answer = http.get(&page).send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        exhibits.show("the pages of the demonstration", &page, text);
    }
    let last = program.stop().await;
    exhibits.show_output("the words of `demo`", "both streams", &last);
}

/// What panics print, down to the last frame, in threads of the program's that hold every secret there is.
pub(super) async fn of_panics(exhibits: &mut Exhibits) {
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    again.args(["--exact", PANICS, "--nocapture"]);
    again.env("RUST_BACKTRACE", "full");
    let last = output(again).await;
    assert!(last.status.success(), "{last:?}");
    let text = String::from_utf8_lossy(&last.stderr).into_owned();
    assert_eq!(text.matches("panicked at").count(), 2, "store and driver: {text}");
    assert!(
        text.contains("stack backtrace:") && text.contains("access_token: ***"),
        "{text}"
    );
    exhibits.show_output("the last words of panics", "both streams", &last);
}

/// A store that panics at its first commit and says all it knows.
struct Panicking(Loaded);

impl Store for Panicking {
    fn load(&mut self) -> Result<Saved, StoreError> {
        Ok(Saved::default())
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        panic!("no commit of {changes:?} under {:#?}", self.0)
    }

    fn digests(&mut self, _: &dingest::store::DigestQuery) -> Result<Vec<Told>, StoreError> {
        Ok(Vec::new())
    }

    fn keep_refused(&mut self, _: &RefusedBody) -> Result<(), StoreError> {
        Ok(())
    }

    fn refused(
        &mut self,
        _: Option<&dingest::alert::SourceName>,
        _: usize,
    ) -> Result<Vec<RefusedBody>, StoreError> {
        Ok(Vec::new())
    }

    fn prune(&mut self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_of_the_store_ends_the_driver() {
    let home = home("http://127.0.0.1:9");
    // From a file instead of the environment, which is not ours alone here.
    let rest = rest("http://127.0.0.1:9").replace("secret_env: MARKED_SECRET", &format!("secret: {SECRET}"));
    home.configure(&configuration("http://127.0.0.1:9", &rest));
    let loaded = dingest::config::load(Some(&home.config()), &home.path(""));
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    let prepared = loaded.prepared();
    let (_plans, new_plans) = watch::channel(prepared.clone());
    let store = Box::new(Panicking(loaded));
    let driver = Driver::start(store, prepared, Client::new(), Arc::new(Metrics::new()));
    let (inbox, asks) = mpsc::channel(1);
    let driver = driver
        .expect("an empty store")
        .run(asks, new_plans, CancellationToken::new());
    let driver = tokio::spawn(driver);
    let handle = Handle::new(inbox);
    let labels = Labels::from_pairs([("alertname", "Bug"), ("reason", "a panic")]);
    let alert = Alert {
        fingerprint: Fingerprint::of_labels(&labels),
        identity: None,
        status: Status::Firing,
        labels,
        annotations: Labels::default(),
        links: Labels::default(),
        values: Labels::default(),
        starts_at: None,
        ends_at: None,
        expires_at: None,
    };
    let answer = handle.accept("bearer".into(), vec![alert]).await;
    assert!(answer.is_err(), "nothing is promised: {answer:?} for {BEARER}");
    let error = driver.await.expect_err("a driver is nothing without its store");
    assert!(error.to_string().contains("the store's thread died"), "{error}");
}
