//! `dingest render`: the messages a webhook body would become, on a virtual clock and without sending anything.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::{ConfigArgs, Exit, Failure, say};
use crate::alert::{Now, RequestId, SourceName, Span, Tick, Timestamp};
use crate::clock::now;
use crate::config::Loaded;
use crate::digest::{Draft, Rendered};
use crate::dingtalk::simulator::content::{self, Content};
use crate::engine::{Answer, Effect, Engine, Input, Outcome};
use crate::render::link;
use crate::source::{self, Decoded};
use crate::store::Saved;

/// How far the virtual clock runs: the longest `group_wait` or mute interval anybody would set.
const LOOK_AHEAD: Span = Span::days(7);

#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// The body, as a sender posts it; `-` reads standard input.
    payload: PathBuf,
    /// The source it is posted to.
    #[arg(long, default_value = "alertmanager")]
    source: String,
    /// Its content type, where it matters (forms).
    #[arg(long)]
    content_type: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: RenderArgs) -> Result<Exit, Failure> {
    let loaded = args.config.load()?;
    let source = loaded.plan.sources.get(args.source.as_str()).ok_or_else(|| {
        let known: Vec<&str> = loaded.plan.sources.keys().map(SourceName::as_str).collect();
        format!(
            "there is no source `{}`; there are `{}`",
            args.source,
            known.join("`, `")
        )
    })?;
    let time = now();
    let decoded = source::decode(source, args.content_type.as_deref(), &read(&args.payload)?, time)?;
    for problem in &decoded.problems {
        say(format!("problem: {}", problem.text));
    }
    let mut preview = Preview::new(&loaded, time);
    preview.post(source.name.clone(), decoded);
    if preview.run() == 0 {
        say("nothing would be sent");
    }
    Ok(Exit::Done)
}

fn read(payload: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    if payload == Path::new("-") {
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    Ok(std::fs::read(payload).map_err(|error| format!("cannot read `{}`: {error}", payload.display()))?)
}

/// What can be pressed in a message besides the links in its text, as the stand-in reads it.
fn pressed(body: &[u8]) -> Vec<String> {
    let content = serde_json::from_slice(body).map(|message| Content::read(&message));
    let links = content.ok().and_then(Result::ok).map(|content| content.links);
    let shown = |link: &content::Link| {
        let picture = link
            .picture
            .as_ref()
            .map(|picture| format!(", picture {picture}"));
        format!(
            "[{}] {}{}",
            link.title,
            link::spelt_out(&link.url),
            picture.unwrap_or_default()
        )
    };
    links.iter().flatten().map(shown).collect()
}

/// The engine on a virtual clock, with a DingTalk that takes everything.
struct Preview<'a> {
    loaded: &'a Loaded,
    engine: Engine,
    begun: Timestamp,
    now: Now,
    digests: usize,
}

impl<'a> Preview<'a> {
    fn new(loaded: &'a Loaded, time: Timestamp) -> Self {
        let now = Now { tick: Tick(0), time };
        let engine = Engine::new(Arc::clone(&loaded.plan), Saved::default(), now);
        Self {
            loaded,
            engine,
            begun: time,
            now,
            digests: 0,
        }
    }

    fn post(&mut self, source: SourceName, decoded: Decoded) {
        let alerts = Input::Alerts {
            request: RequestId(0),
            source,
            alerts: decoded.alerts,
        };
        self.engine.handle(alerts, self.now);
        self.settle();
    }

    /// Lets time pass until everything was told once. Answers how many digests that took.
    fn run(mut self) -> usize {
        while self.engine.counts().changes > 0 {
            let Some((at, _)) = self
                .engine
                .deadline()
                .filter(|(at, _)| *at <= Tick(0).plus(LOOK_AHEAD))
            else {
                break;
            };
            let tick = at.max(self.now.tick);
            self.now = Now {
                tick,
                time: self.begun.plus(tick.since(Tick(0))),
            };
            self.engine.handle(Input::Timer, self.now);
            self.settle();
        }
        self.digests
    }

    fn settle(&mut self) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Digest(draft) => {
                    self.digests += 1;
                    let rendered = self.loaded.renderer.render(&draft);
                    show(&draft, &rendered);
                    self.engine.handle(
                        Input::Rendered {
                            digest: draft.id,
                            rendered,
                        },
                        self.now,
                    );
                }
                Effect::Send(send) => {
                    let answer = Answer::new(Outcome::Delivered, "");
                    let answers = vec![(send.message, answer)];
                    self.engine.handle(Input::Outcome(answers), self.now);
                }
                Effect::Reply { .. } | Effect::Errand(_) | Effect::Event(_) => {}
            }
        }
    }
}

fn show(draft: &Draft, rendered: &Rendered) {
    for message in &rendered.messages {
        let (detail, bytes) = (rendered.detail.as_str(), message.body.len());
        let others = draft.others.iter().map(|(_, name)| name.as_str());
        let readers: Vec<&str> = std::iter::once(draft.receiver.as_str()).chain(others).collect();
        say(format!("--- to {}, {detail}, {bytes} bytes", readers.join(", ")));
        say(format!("title: {}\n\n{}\n", message.title, message.text));
        let links = pressed(&message.body);
        if !links.is_empty() {
            say(format!("{}\n", links.join("\n")));
        }
    }
    if let Some(error) = &rendered.template_error {
        say(format!(
            "the template failed and the built-in one was used: {error}"
        ));
    }
}
