//! A server of the test's own for functions to send requests to: on loopback, one request a connection.

use std::sync::{Arc, Mutex, Weak};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running server. Ends when it is dropped.
pub struct Upstream {
    /// `127.0.0.1:PORT`
    pub address: String,
    seen: Arc<Mutex<Vec<String>>>,
    /// Has a clone in each open connection.
    open: Arc<()>,
    task: tokio::task::JoinHandle<()>,
}

/// How a request is answered.
pub enum Reply {
    /// With these bytes, after which the connection ends.
    Bytes(String),
    /// With these bytes, after which it stays open and silent.
    Unfinished(String),
}

impl Reply {
    /// 200 with a body.
    pub fn text(body: &str) -> Self {
        Self::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }
}

impl Upstream {
    /// A server that answers each request, its text from the method to the body, as `reply` says.
    pub async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        let (seen, open) = (Arc::default(), Arc::new(()));
        let task = tokio::spawn(serve(listener, Arc::clone(&seen), Arc::downgrade(&open), Arc::new(reply)));
        Self { address, seen, open, task }
    }

    /// Connections that have not ended.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// All requests that came, in order.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    seen: Arc<Mutex<Vec<String>>>,
    open: Weak<()>,
    reply: Arc<impl Fn(&str) -> Reply + Send + Sync + 'static>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let (seen, reply, open) = (Arc::clone(&seen), Arc::clone(&reply), open.upgrade());
        connections.spawn(async move {
            let _open = open;
            let request = read(&mut stream).await;
            seen.lock().expect("nobody panics with it").push(request.clone());
            let (bytes, stays) = match reply(&request) {
                Reply::Bytes(bytes) => (bytes, false),
                Reply::Unfinished(bytes) => (bytes, true),
            };
            let _ = stream.write_all(bytes.as_bytes()).await;
            if stays {
                // Until the other side ends it.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
    }
}

/// A request's head and body.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if text.starts_with('\u{16}') {
            // TLS, which it does not speak.
            return text;
        }
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
            !chunked || body.contains("0\r\n")
        });
        if whole || count == 0 {
            return text;
        }
    }
}
