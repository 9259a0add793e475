//! Programs of ours that talk while they run, as people read them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::PATIENCE;

/// A program that goes on until it is told to stop, and what it has said to standard output so far.
pub(crate) struct Talking {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    said: String,
}

impl Talking {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_dingest"));
        program.args(arguments).args(["--log", "trace"]);
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self {
            child,
            output,
            said: String::new(),
        }
    }

    /// Waits until it says this and returns what follows in the same line.
    pub(crate) async fn says(mut self, words: &'static str) -> (Self, String) {
        let pid = self.child.id();
        let read = move || loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("words");
            self.said.push_str(&line);
            assert!(read > 0, "it ended without saying `{words}`: {}", self.said);
            if let Some((_, rest)) = line.split_once(words) {
                let rest = rest.trim().to_owned();
                return (self, rest);
            }
        };
        let mut reading = tokio::task::spawn_blocking(read);
        if let Ok(read) = tokio::time::timeout(PATIENCE, &mut reading).await {
            return read.expect("it says so");
        }
        // Its end ends the reading, which says what it was waiting for.
        let kill = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        assert!(kill.expect("`kill`").success());
        reading.await.expect("it says so in time")
    }

    /// Tells it to stop, and returns everything it said.
    pub(crate) async fn stop(self) -> Output {
        let told = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status();
        assert!(told.expect("a shell").success());
        let Self {
            child,
            mut output,
            said,
        } = self;
        let rest = tokio::task::spawn_blocking(move || {
            // Both streams at once, so that neither is ever full.
            let stdout = std::thread::spawn(move || {
                let mut rest = Vec::new();
                std::io::Read::read_to_end(&mut output, &mut rest).map(|_| rest)
            });
            let mut last = child.wait_with_output()?;
            last.stdout = stdout.join().expect("no panic")?;
            std::io::Result::Ok(last)
        });
        let mut last = rest.await.expect("a task").expect("it ends");
        last.stdout.splice(..0, said.into_bytes());
        last
    }
}
