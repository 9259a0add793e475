//! The processes that are measured. Each is killed when its handle is dropped.

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use warp::Filter as _;

use crate::Outcome;

/// The argument that makes this program the empty handler.
pub(crate) const EMPTY_HANDLER: &str = "--empty-handler";

/// How long to wait for what has to happen sooner or later.
const PATIENCE: Duration = Duration::from_secs(120);

/// Short windows, so that what was posted is told soon; told to nobody, as the console's output is thrown away.
pub(crate) const CONFIGURATION: &str = "
server:
  listen: 127.0.0.1:0
locale: en
timezone: UTC
sources:
  - name: alertmanager
    type: alertmanager
receivers:
  - name: console
    console: {}
route:
  receiver: console
  group_by: [alertname, cluster]
  group_wait: 10s
  group_interval: 10s
";

/// A process with an address.
pub(crate) struct Peer {
    process: Child,
    address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

impl Peer {
    /// The daemon, with its state in `directory`, and how long it took to be ready.
    pub(crate) fn dingest(directory: &Path) -> Outcome<(Self, Duration)> {
        // Apart, as packages have them: the directory of a configuration is watched for changes.
        let [configuration, state] = ["dingest.yaml", "state"].map(|name| directory.join(name));
        fs::create_dir_all(&state)?;
        fs::write(&configuration, CONFIGURATION)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_dingest"));
        command
            .args(["run", "--config"])
            .arg(configuration)
            .arg("--state-dir")
            .arg(state)
            .env_remove("NOTIFY_SOCKET")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let begun = Instant::now();
        let mut process = command.spawn()?;
        let log = process.stderr.take().ok_or("the daemon has no log")?;
        let address = announced(log, "ready")?;
        Ok((Self { process, address }, begun.elapsed()))
    }

    /// This program as an empty warp handler.
    pub(crate) fn empty_handler() -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(EMPTY_HANDLER)
            .stdout(Stdio::piped())
            .spawn()?;
        let log = process.stdout.take().ok_or("the empty handler has no output")?;
        let address = announced(log, "listening")?;
        Ok(Self { process, address })
    }

    /// Alertmanager under the name Debian gives it, if it is installed.
    pub(crate) fn alertmanager(directory: &Path) -> Outcome<Option<Self>> {
        fs::create_dir_all(directory)?;
        let configuration = directory.join("alertmanager.yml");
        fs::write(
            &configuration,
            "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
        )?;
        // The port is free when asked for; nobody else is likely to take it in between.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let spawned = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.path={}", directory.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = spawned else { return Ok(None) };
        let peer = Self { process, address };
        wait_until(|| peer.get("/-/ready").is_ok_and(|answer| answer.contains(" 200 ")))?;
        Ok(Some(peer))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the daemon has told everything it was posted.
    pub(crate) fn wait_until_told(&self) -> Outcome<()> {
        wait_until(|| {
            self.get("/api/v1/status")
                .is_ok_and(|answer| answer.contains(r#""changes":0"#))
        })
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("the system does not say how much memory a process has")?;
        Ok(kib.parse::<f64>()? * 1024.0)
    }

    /// The moment of the newest digest, if there is one.
    pub(crate) fn composed_at(&self) -> Outcome<Option<SystemTime>> {
        let answer = self.get("/api/v1/digests?limit=1")?;
        let composed_at = answer
            .split_once(r#""composed_at":""#)
            .and_then(|(_, rest)| rest.split_once('"'));
        Ok(match composed_at {
            Some((time, _)) => Some(time.parse::<jiff::Timestamp>()?.into()),
            None => None,
        })
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// The address in the line that holds `word`. What follows is read and thrown away.
fn announced(log: impl Read + Send + 'static, word: &str) -> Outcome<SocketAddr> {
    let mut log = BufReader::new(log);
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        let mut words = line.split([' ', '=', '\n']);
        if line.contains(word)
            && let Some(address) = words.find_map(|word| word.parse().ok())
        {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(address);
        }
        line.clear();
    }
    Err(format!("a process ended before it was {word}").into())
}

fn wait_until(done: impl Fn() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err("a process did not become ready in time".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Reads bodies and says that they came: the least any server on warp has to do.
pub(crate) fn serve_nothing() -> Outcome<Infallible> {
    let route = warp::post()
        .and(warp::path!("v1" / "hooks" / String))
        .and(warp::body::content_length_limit(8 << 20))
        .and(warp::body::bytes())
        .map(|_source: String, _body: Bytes| {
            warp::reply::with_header("{}", "content-type", "application/json")
        });
    let service = TowerToHyperService::new(warp::service(route));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    })
}
