//! `dingest render`: the messages a webhook body would become, on a virtual clock and without sending anything.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{ConfigArgs, Exit, Failure, read_input, say};
use crate::clock::now;
use crate::dingtalk::simulator::content::{self, Content};
use crate::rehearse::{Composed, Form, LOOK_AHEAD, Post, Rehearsal};
use crate::render::link;

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
    let loaded = args.config.load_to_rehearse()?;
    let mut rehearsal = Rehearsal::new(loaded.prepared(), now());
    let taken = rehearsal.post(Post {
        source: &args.source,
        form: Form::OfSource,
        content_type: args.content_type.as_deref(),
        body: &read_input(&args.payload)?,
    })?;
    for problem in &taken.problems {
        say(format!("problem: {}", problem.text));
    }
    rehearsal.rest(LOOK_AHEAD);
    // What several people read is one digest.
    let mut shown: Vec<&Arc<Composed>> = Vec::new();
    for message in rehearsal.messages() {
        if !shown.iter().any(|digest| Arc::ptr_eq(digest, &message.composed)) {
            show(&message.composed);
            shown.push(&message.composed);
        }
    }
    if shown.is_empty() {
        say("nothing would be sent");
    }
    Ok(Exit::Done)
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

fn show(Composed { draft, rendered }: &Composed) {
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
