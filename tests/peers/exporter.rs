//! A disk for Prometheus to watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Serves `disk_used_percent` until dropped.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    used_percent: Arc<AtomicU8>,
    server: JoinHandle<()>,
}

impl Exporter {
    pub(crate) async fn start(used_percent: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let used_percent = Arc::new(AtomicU8::new(used_percent));
        let server = tokio::spawn(serve(listener, Arc::clone(&used_percent)));
        Self {
            address,
            used_percent,
            server,
        }
    }

    pub(crate) fn fill(&self, used_percent: u8) {
        self.used_percent.store(used_percent, Ordering::Relaxed);
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, used_percent: Arc<AtomicU8>) {
    while let Ok((connection, _)) = listener.accept().await {
        // A scrape that breaks is Prometheus' affair.
        drop(answer(connection, used_percent.load(Ordering::Relaxed)).await);
    }
}

async fn answer(mut connection: TcpStream, used_percent: u8) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let body = format!("disk_used_percent{{device=\"sda1\"}} {used_percent}\n");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    connection.write_all(answer.as_bytes()).await
}
