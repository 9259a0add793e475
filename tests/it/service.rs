//! The program beside its daemon: what service managers, health checks and packages call.

use std::path::Path;
use std::process::{Command, Output};

use crate::chat::{bots, chat};
use crate::daemon::{Daemon, Home, configuration};

/// Runs the program with these words.
async fn dingest(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dingest"));
    command.args(words);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("a task")
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn secrets_are_found_among_the_credentials_of_the_service() {
    let home = Home::new();
    home.configure(
        "include: [sources/*.yaml]
bots: [{ name: ops, url_file: secrets/ops.url }]
receivers: [{ name: ops, bots: [ops] }]
",
    );
    let included =
        "sources: [{ name: am, type: alertmanager, auth: { bearer_token_file: ../secrets/am.token } }]";
    std::fs::create_dir(home.path("sources")).expect("a directory");
    std::fs::write(home.path("sources/am.yaml"), included).expect("an included file");
    let credentials = home.path("credentials");
    std::fs::create_dir(&credentials).expect("a directory");
    // As `LoadCredential=secrets:DIRECTORY` names what lies in the directory.
    let url = "https://oapi.dingtalk.com/robot/send?access_token=0123456789";
    std::fs::write(credentials.join("secrets_ops.url"), url).expect("a credential");
    std::fs::write(credentials.join("secrets_am.token"), "token").expect("a credential");
    let check = |credentials: &Path| {
        let mut command = home.command("check");
        command.env("CREDENTIALS_DIRECTORY", credentials);
        command.output().expect("the program runs")
    };
    let output = check(&credentials);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = check(&home.path("elsewhere"));
    let report = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{report}");
    assert!(
        report.contains("secrets/ops.url") && report.contains("secrets/am.token"),
        "{report}"
    );
    assert!(report.contains("systemctl restart dingest"), "{report}");
}

#[tokio::test]
async fn a_health_check_says_how_it_is_and_fails_when_nobody_answers() {
    let chat = chat(&["ops"]).await;
    let home = Home::new();
    let rest = format!("{}receivers: [{{ name: ops, bots: [ops] }}]\n", bots(&["ops"]));
    home.configure(&configuration(chat.url(), &rest));
    let daemon = Daemon::start(&home).await;
    let url = daemon.url("");
    let output = dingest(&["status", "--url", &url]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(
        said.contains("0 firing") && said.contains("dingest.yaml"),
        "{said}"
    );
    drop(daemon);
    let output = dingest(&["status", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("refused"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn every_command_has_a_page_of_the_manual() {
    let home = Home::new();
    let directory = home.path("manual");
    let output = dingest(&["manual", &directory.display().to_string()]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let help = text(&dingest(&["help"]).await.stdout);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // A description that goes on in the next line is set in farther.
    let commands = lines.filter_map(|line| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .filter(|word| !word.is_empty())
    });
    let mut pages = 0;
    for command in commands.filter(|command| *command != "help") {
        let page = std::fs::read_to_string(directory.join(format!("dingest-{command}.1")));
        assert!(page.expect(command).contains(".SH SYNOPSIS"), "{command}");
        pages += 1;
    }
    assert!(pages >= 8, "{help}");
    for completion in ["dingest.bash", "dingest.fish", "_dingest"] {
        let script = std::fs::read_to_string(directory.join(completion)).expect(completion);
        assert!(script.contains("simulate-dingtalk"), "{completion}");
    }
}
