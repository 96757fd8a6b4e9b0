//! Bodies that stream, both ways, for wasi:http 0.2 and 0.3. What comes first is let come first: no clocks.

use std::time::Duration;

use nocti::registry::manifest::Limits;
use nocti_tests::{Reply, TestHost, Upstream, bundle_with, eventually, fixture_guest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One for each `wasi:http`.
const FUNCTIONS: [&str; 2] = ["misbehave-http", "http-p3"];

/// A connection of which the test sees every byte.
struct Connection {
    stream: TcpStream,
    read: String,
}

impl Connection {
    /// Sends a request whose body is to follow in chunks.
    async fn begin(host: &TestHost, function: &str, path: &str) -> Self {
        let address = host.url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.expect("the host listens");
        let mut connection = Self { stream, read: String::new() };
        let head = format!(
            "POST /functions/{function}{path} HTTP/1.1\r\nhost: {address}\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        connection.send(&head).await;
        connection
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("the host reads");
    }

    async fn chunk(&mut self, text: &str) {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Reads until there is this.
    async fn until(&mut self, text: &str) {
        while !self.read.contains(text) {
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).await.expect("it goes on");
            assert!(count > 0, "it ended before '{text}': {}", self.read);
            self.read.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

async fn host() -> TestHost {
    let host = TestHost::start().await;
    for function in FUNCTIONS {
        host.deploy(&fixture_guest(function)).await.expect(201);
    }
    host
}

/// A host whose functions may reach the server.
async fn host_beside(upstream: &Upstream) -> TestHost {
    host_with(upstream, |_| {}).await
}

async fn host_with(upstream: &Upstream, change: impl Fn(&mut Limits)) -> TestHost {
    let host = TestHost::start().await;
    for function in FUNCTIONS {
        let allowed = format!("http://{}", upstream.address).parse().expect("a destination");
        let bundle = bundle_with(&fixture_guest(function), |project| {
            project.manifest.network.allow = vec![allowed];
            change(&mut project.manifest.limits);
        });
        host.deployed(bundle).await;
    }
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_as_they_are_written_and_trailers_pass_both_ways() {
    let host = host().await;
    // `/echo` hands the body on and does not touch it.
    for (function, path) in [("misbehave-http", "/copy"), ("http-p3", "/copy"), ("http-p3", "/echo")] {
        let mut connection = Connection::begin(&host, function, path).await;
        for number in 1..=3 {
            // The function has only what was sent, and the test gets it before it sends more.
            connection.chunk(&format!("data: event {number}\n\n")).await;
            connection.until(&format!("data: event {number}\n\n")).await;
        }
        assert!(connection.read.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {}", connection.read);
        assert!(connection.read.contains("content-type: text/event-stream\r\n"), "{path}: {}", connection.read);
        connection.send("0\r\nx-checksum: 12ab\r\n\r\n").await;
        connection.until("0\r\nx-checksum: 12ab\r\n\r\n").await;
        host.busy(function, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_goes_on_after_its_answer() {
    let host = host().await;
    for function in FUNCTIONS {
        // The second answer says how long it is, so that nobody asks for its end.
        for (path, end, bytes) in [("/early", "later\n\r\n0\r\n\r\n", "22"), ("/early?length=6", "later\n", "44")] {
            let mut connection = Connection::begin(&host, function, path).await;
            connection.until(end).await;
            // The answer is over.
            connection.chunk("some of it").await;
            connection.chunk("and the rest").await;
            connection.send("0\r\n\r\n").await;
            host.busy(function, 0).await;
            let remembered = host.get(&format!("/functions/{function}/remembered")).await.text();
            assert_eq!(remembered, bytes, "{function}{path}");
            // Else the next request may find its instance not yet free, and get another one.
            host.busy(function, 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_functions_work() {
    let upstream = Upstream::start(|_| Reply::text("")).await;
    let host = host_beside(&upstream).await;
    for function in FUNCTIONS {
        // Before there is an answer, while one is written, while the request is read.
        for (path, seen) in [("/early", ""), ("/flood?report=", "...."), ("/copy", "")] {
            let path = if path.ends_with('=') { format!("{path}{}", upstream.address) } else { path.to_owned() };
            let mut connection = Connection::begin(&host, function, &path).await;
            connection.chunk("something").await;
            host.busy(function, 1).await;
            connection.until(seen).await;
            drop(connection);
            host.busy(function, 0).await;
        }
    }
}

/// Which instance of `http-p3` has the request.
async fn instance(connection: &mut Connection) -> String {
    connection.until("\r\n\r\n").await;
    let (_, rest) = connection.read.split_once("x-instance: ").expect("the function says so");
    rest.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_disturb_others_in_its_instance() {
    let upstream = Upstream::start(|_| Reply::text("")).await;
    let host = host_with(&upstream, |limits| limits.timeout = Duration::from_secs(10)).await;
    let mut stays = Connection::begin(&host, "http-p3", "/copy").await;
    let shared = instance(&mut stays).await;
    let goes = eventually("another request in the same instance", async || {
        let mut connection = Connection::begin(&host, "http-p3", "/copy").await;
        (instance(&mut connection).await == shared).then_some(connection)
    })
    .await;
    drop(goes);
    stays.chunk("something").await;
    stays.until("something").await;
    stays.send("0\r\n\r\n").await;
    stays.until("\r\n0\r\n\r\n").await;
    host.busy("http-p3", 0).await;
}

/// The test's own requests are the clock: a function that nothing holds back sends about as many.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_holds_the_function_back() {
    const AHEAD_BYTES: usize = 32 << 20;
    const CHUNK_BYTES: usize = 64 << 10;
    let upstream = Upstream::start(|_| Reply::text("")).await;
    let host = host_beside(&upstream).await;
    for function in FUNCTIONS {
        let before = upstream.seen().len();
        let mut connection = Connection::begin(&host, function, &format!("/flood?report={}", upstream.address)).await;
        connection.send("0\r\n\r\n").await;
        connection.until("....").await;
        let mut own = 0;
        while own < 4 * AHEAD_BYTES / CHUNK_BYTES {
            let mut stream = TcpStream::connect(&upstream.address).await.expect("it listens");
            stream.write_all(b"GET /clock HTTP/1.1\r\n\r\n").await.expect("it reads");
            stream.read_to_end(&mut Vec::new()).await.expect("it answers");
            own += 1;
        }
        let chunks = upstream.seen().len() - before - own;
        assert!(chunks * CHUNK_BYTES <= AHEAD_BYTES, "{function}: {chunks} chunks, and nobody has read them");
        // It goes on when they are read.
        let mut bytes = vec![0; 1 << 20];
        eventually("more", async || {
            connection.stream.read_exact(&mut bytes).await.expect("there is more");
            (upstream.seen().len() - before - own > chunks).then_some(())
        })
        .await;
        drop(connection);
        host.busy(function, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_has_no_more_time_than_others() {
    let upstream = Upstream::start(|_| Reply::text("")).await;
    let host = host_with(&upstream, |limits| (limits.timeout, limits.concurrency) = (Duration::from_secs(2), 1)).await;
    for function in FUNCTIONS {
        let mut connection = Connection::begin(&host, function, &format!("/flood?report={}", upstream.address)).await;
        connection.send("0\r\n\r\n").await;
        connection.until("....").await;
        // It stays, and has the function's only permit until its time is over.
        host.busy(function, 0).await;
        assert_eq!(host.get(&format!("/functions/{function}/count")).await.status, 200, "{function}");
        let mut rest = Vec::new();
        let _ = connection.stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{function}: half an answer looked like a whole one");
    }
}
