//! An OCI registry: Debian's `docker-registry` in a process of its own, on a free port and over a temporary folder.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::tools;

/// A running registry; killed when dropped.
pub struct OciRegistry {
    /// `127.0.0.1:PORT`
    pub host: String,
    folder: TempDir,
    _child: Child,
}

impl OciRegistry {
    /// A registry that takes anything from anybody.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// A registry that knows `ada`, whose password is `secret`.
    pub async fn start_with_password() -> Self {
        Self::start_with("auth: {htpasswd: {realm: test, path: FOLDER/htpasswd}}\n").await
    }

    async fn start_with(more: &str) -> Self {
        const CONFIG: &str = "version: 0.1\nlog: {accesslog: {disabled: true}}\n\
                              storage: {filesystem: {rootdirectory: FOLDER}}\nhttp: {addr: '127.0.0.1:0', secret: test}\n";
        const KNOWN: &str = "ada:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("config.yml");
        let text = format!("{CONFIG}{more}").replace("FOLDER", folder.path().to_str().expect("it is text"));
        std::fs::write(&config, text).expect("a temporary file");
        std::fs::write(folder.path().join("htpasswd"), KNOWN).expect("a temporary file");
        let mut command = Command::new(tools().join("registry/docker-registry"));
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("it is there: `scripts/setup registry` gets it");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut seen = String::new();
        let host = loop {
            let line = lines.next_line().await.expect("the log is text");
            let line = line.unwrap_or_else(|| panic!("the registry ended before it served:\n{seen}"));
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.split('"').next().unwrap_or_default().to_owned();
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // Read on, or the pipe fills and the registry waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { host, folder, _child: child }
    }

    /// Where the content of a blob lies.
    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.blobs().join(&sha256[..2]).join(sha256).join("data")
    }

    /// Bytes of all blobs.
    pub fn size_bytes(&self) -> u64 {
        let entries = |folder: PathBuf| std::fs::read_dir(folder).expect("a folder of the registry's");
        let path = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").path();
        let blobs = entries(self.blobs()).flat_map(|entry| entries(path(entry)));
        blobs.map(|blob| std::fs::metadata(path(blob).join("data")).map_or(0, |data| data.len())).sum()
    }

    fn blobs(&self) -> PathBuf {
        self.folder.path().join("docker/registry/v2/blobs/sha256")
    }
}

/// The way to a server, which dies when enough has passed.
pub struct Dying {
    /// `127.0.0.1:PORT`
    pub host: String,
    dead: CancellationToken,
}

impl Dying {
    /// A way to `server` that ends, with all its connections, as soon as one has carried so many bytes there or back.
    pub async fn start(server: &str, there: u64, back: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let host = listener.local_addr().expect("it listens").to_string();
        let (server, dead) = (server.to_owned(), CancellationToken::new());
        let ends = dead.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = ends.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                let (client, _) = accepted.expect("a connection");
                tokio::spawn(pass(client, server.clone(), there, back, ends.clone()));
            }
        });
        Self { host, dead }
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        self.dead.cancel();
    }
}

async fn pass(mut client: TcpStream, server: String, there: u64, back: u64, dead: CancellationToken) {
    let mut server = TcpStream::connect(server).await.expect("the server listens");
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let (mut from_client, mut from_server) = (from_client.take(there), from_server.take(back));
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        () = dead.cancelled() => {}
    }
    if from_client.limit() == 0 || from_server.limit() == 0 {
        dead.cancel();
    }
}
