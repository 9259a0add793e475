//! Logs: one line per event, a constant message and fields, as text or JSON, or as the journal likes them.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; for the journal, when standard error is connected to it.
    Text,
    /// For machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "`{filter}` is no log filter ({why}); write a level, or `target=level` pairs, such as `info,dingest=debug`"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice,
}

/// Sends the events that pass `filter` (as in `RUST_LOG`) to standard error, from here on and for good.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let subscriber = subscriber(
        format,
        filter,
        to_journal(),
        std::io::stderr().is_terminal(),
        std::io::stderr,
    )?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// Everything but warp's own tracing, which shows paths segment by segment, and so the tokens in them.
fn without_paths() -> FilterFn {
    filter_fn(|it| *it.level() <= Level::INFO || !it.target().starts_with("warp"))
}

/// What [`init`] installs, writing to anything.
pub(crate) fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    journal: bool,
    terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        why: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // It would be told to standard error, where it went wrong, and in a way that panics when that fails, too.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish()
                .with(without_paths()),
        ),
        LogFormat::Text if journal => Box::new(
            builder
                .with_ansi(false)
                .event_format(Journal(Format::default().without_time().with_level(false)))
                .finish()
                .with(without_paths()),
        ),
        LogFormat::Text => Box::new(builder.with_ansi(terminal).finish().with(without_paths())),
    })
}

/// Whether standard error goes to the journal: systemd names the device and inode of the stream it connected,
/// and a redirected stream is another one (`man 5 systemd.exec`, `JOURNAL_STREAM`).
fn to_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|it| stream == format!("{}:{}", it.dev(), it.ino()))
}

/// Lines that start with `<N>`, from which the journal takes the priority; it knows the time itself.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Priorities of syslog: 3 error, 4 warning, 6 informational, 7 debug.
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;

    /// Standard error's stand-in: every write goes into a channel.
    #[derive(Clone)]
    struct Lines(mpsc::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn logged(format: LogFormat, filter: &str, journal: bool) -> String {
        let (to, lines) = mpsc::channel();
        let to = Lines(to);
        let subscriber = subscriber(format, filter, journal, false, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(path = "dingest.db", "store failed");
            tracing::info!(receiver = "ops", "digest delivered");
            tracing::debug!("alert repeated");
        });
        String::from_utf8(lines.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        insta::assert_snapshot!(logged(LogFormat::Text, "debug", true), @r#"
        <3>dingest::telemetry::log::tests: store failed path="dingest.db"
        <6>dingest::telemetry::log::tests: digest delivered receiver="ops"
        <7>dingest::telemetry::log::tests: alert repeated
        "#);
    }

    #[test]
    fn text_for_people_has_time_and_level_and_no_colour_outside_a_terminal() {
        let text = logged(LogFormat::Text, "info", false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("Z ERROR ") && lines[0].ends_with("store failed path=\"dingest.db\""),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn json_has_one_object_per_event() {
        let text = logged(LogFormat::Json, "error", false);
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["level"], "ERROR");
        assert_eq!(event["message"], "store failed");
        assert_eq!(event["path"], "dingest.db");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_by_name() {
        let error = subscriber(LogFormat::Text, "dingest=loud", false, false, std::io::sink)
            .err()
            .expect("no such level");
        assert!(
            error.to_string().starts_with("`dingest=loud` is no log filter"),
            "{error}"
        );
    }
}
