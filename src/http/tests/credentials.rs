//! Who is let in, and that nobody gets to see what they showed.

use super::*;

/// Posts with each header to each path; what is let in reaches the driver, and nothing else does.
async fn check_credentials(cases: &[(&str, &str, u16, &str)]) {
    let (server, seen) = running().await;
    for (path, header, status, challenge) in cases {
        let line = format!("POST /v1/hooks/{path}");
        let headers: Vec<&str> = header.split('\n').filter(|header| !header.is_empty()).collect();
        let reply = talk(server.address, &request(&line, &headers, FIRING.as_bytes())).await;
        check(&format!("{line} {header}"), &reply, *status, None);
        if *status == 401 {
            let told = reply.header("www-authenticate").unwrap_or_default();
            assert!(told.starts_with(challenge), "{line} {header}: {told}");
        }
    }
    let granted = cases.iter().filter(|(_, _, status, _)| *status == 200).count();
    assert_eq!(seen.try_iter().count(), granted);
}

#[tokio::test]
async fn only_the_right_token_or_password_opens_a_source() {
    use base64::Engine as _;
    let basic = |text: &str| {
        format!(
            "Authorization: Basic {}",
            base64::prelude::BASE64_STANDARD.encode(text)
        )
    };
    check_credentials(&[
        ("alertmanager", "", 200, ""),
        ("alertmanager", "X-Forwarded-For: 192.0.2.1", 403, ""),
        ("alertmanager", "X-Real-IP: 192.0.2.1", 403, ""),
        ("alertmanager", "Forwarded: for=192.0.2.1", 403, ""),
        ("alertmanager", "Origin: https://example.com", 403, ""),
        ("bearer", "", 401, "Bearer"),
        ("bearer", "Authorization: Bearer wrong", 401, "Bearer"),
        ("bearer", "Authorization: Bearer", 401, "Bearer"),
        ("bearer", "Authorization: bearer  t0ken/ä", 200, ""),
        ("bearer", &basic("t0ken/ä:"), 401, "Bearer"),
        ("bearer/wrong", "", 401, "Bearer"),
        ("bearer/t0ken%2F%C3%A4", "", 200, ""),
        ("bearer/t0ken%2F%C3%A4", "X-Forwarded-For: 192.0.2.1", 200, ""),
        ("basic", "", 401, "Basic"),
        ("basic", &basic("am:pa"), 401, "Basic"),
        ("basic", &basic("am:pa:ss"), 200, ""),
        ("basic", &basic("am:pa:ss").replace("Basic", "bASIC"), 200, ""),
        ("basic", "Authorization: Basic §", 401, "Basic"),
    ])
    .await;
}

#[tokio::test]
async fn only_a_fresh_signature_over_the_body_opens_a_signed_source() {
    let signature = |text: &str| format!("X-Grafana-Alerting-Signature: {text}");
    let right = signed("hmac-secret", FIRING.as_bytes());
    let now = crate::clock::now().0 / 1000;
    let at = |seconds: i64| {
        let both = format!("{seconds}:{FIRING}");
        format!(
            "{}\nX-Signed-At: {seconds}",
            signature(&signed("hmac-secret", both.as_bytes()))
        )
    };
    check_credentials(&[
        ("signed", "", 401, "HMAC-SHA256"),
        ("signed", &signature("00"), 401, "HMAC-SHA256"),
        ("signed", &signature(&"zz".repeat(32)), 401, "HMAC-SHA256"),
        (
            "signed",
            &signature(&signed("other", FIRING.as_bytes())),
            401,
            "HMAC-SHA256",
        ),
        ("signed", &signature(&right), 200, ""),
        ("signed", &signature(&right.to_uppercase()), 200, ""),
        ("signed-at", &signature(&right), 401, "HMAC-SHA256"),
        (
            "signed-at",
            &format!("{}\nX-Signed-At: {now}", signature(&right)),
            401,
            "HMAC-SHA256",
        ),
        ("signed-at", &at(now), 200, ""),
        ("signed-at", &at(now - 290), 200, ""),
        ("signed-at", &at(now - 400), 401, "HMAC-SHA256"),
        ("signed-at", &at(now + 400), 401, "HMAC-SHA256"),
        ("signed-at", &at(i64::MIN), 401, "HMAC-SHA256"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_never_reaches_the_log_or_an_answer() {
    let (to, lines) = std_mpsc::channel::<Vec<u8>>();
    let log = crate::telemetry::subscriber(
        crate::telemetry::LogFormat::Text,
        "trace",
        false,
        false,
        move || Lines(to.clone()),
    );
    let _here = tracing::subscriber::set_default(log.unwrap());
    let (server, _seen) = running().await;
    // A thread without a subscriber that came upon an event first may have noted that nobody wants it.
    talk(server.address, &request("POST /v1/hooks/bearer/wrong", &[], b"{")).await;
    tracing::callsite::rebuild_interest_cache();
    for (line, header) in [
        ("POST /v1/hooks/bearer/t0ken%2F%C3%A4", "Accept: */*"),
        ("GET /v1/hooks/bearer/t0ken%2F%C3%A4", "Accept: */*"),
        ("POST /v1/hooks/bearer/t0ken-mistyped", "Accept: */*"),
        ("POST /v1/hooks/basic/t0ken", "Accept: */*"),
        ("POST /v1/hooks/nobody/t0ken", "Accept: */*"),
        ("POST /v1/hooks/bearer?token=t0ken", "Accept: */*"),
        ("POST /v1/hooks/bearer", "Authorization: Bearer t0ken-mistyped"),
        ("POST /v1/hooks/bearer/api/t0ken", "Authorization: Bearer t0ken"),
    ] {
        let reply = talk(server.address, &request(line, &[header], b"{")).await;
        assert!(!reply.0.contains("t0ken"), "{line}: {reply:?}");
    }
    let log = String::from_utf8(lines.try_iter().flatten().collect()).unwrap();
    assert!(
        log.contains("path=\"/v1/hooks/bearer/***\"") && log.contains("unauthorized"),
        "{log}"
    );
    assert!(!log.contains("t0ken"), "{log}");
}

/// Where a test's log goes.
struct Lines(std_mpsc::Sender<Vec<u8>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
