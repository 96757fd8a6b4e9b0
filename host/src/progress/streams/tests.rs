use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

const PATIENCE: Duration = Duration::from_secs(120);

/// What clients of HTTP/2 have room for if they say nothing else.
const WINDOW: u32 = (1 << 16) - 1;

/// What an answer is made of; whoever else has the counter sees whether it is kept.
struct Kept(Vec<u8>, #[expect(dead_code, reason = "it counts")] Arc<()>);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A client of a server whose answers are of so many bytes, `/` and the number.
async fn connected(kept: Arc<()>) -> SendRequest<Empty<Bytes>> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let answer = move |request: Request<Incoming>| {
        let kept = Kept(vec![7; request.uri().path()[1..].parse().expect("a number")], Arc::clone(&kept));
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_owner(kept)))) }
    };
    let serving = http2::Builder::new(Streams { patience: PATIENCE });
    tokio::spawn(serving.serve_connection(TokioIo::new(far), InPieces(service_fn(answer))));
    let mut client = client::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(WINDOW).initial_connection_window_size(1 << 24);
    let (sender, connection) = client.handshake(TokioIo::new(near)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn asked(sender: &mut SendRequest<Empty<Bytes>>, bytes: usize) -> Incoming {
    let request = Request::get(format!("http://h/{bytes}")).body(Empty::new()).expect("a request");
    sender.send_request(request).await.expect("an answer").into_body()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_let_go_and_others_go_on() {
    let kept = Arc::new(());
    let mut sender = connected(Arc::clone(&kept)).await;
    let unread = asked(&mut sender, 10 << 20).await;
    let (since, with_it) = (Instant::now(), Arc::strong_count(&kept));
    while Arc::strong_count(&kept) == with_it {
        assert!(since.elapsed() < 2 * PATIENCE, "it is still kept");
        let other = asked(&mut sender, 100_000).await.collect().await.expect("it is whole");
        assert_eq!(other.to_bytes(), vec![7; 100_000]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(since.elapsed() >= PATIENCE);
    let error = unread.collect().await.expect_err("it was given up");
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

/// The connection has the last piece of it, and nobody watches how long.
#[tokio::test(start_paused = true)]
async fn the_last_piece_does_not_keep_the_others() {
    let kept = Arc::new(());
    let mut sender = connected(Arc::clone(&kept)).await;
    let with_none = Arc::strong_count(&kept);
    let unread = asked(&mut sender, WINDOW as usize + 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&kept), with_none);
    assert_eq!(unread.collect().await.expect("it is whole").to_bytes().len(), WINDOW as usize + 1);
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_and_who_writes_slowly_is_waited_for() {
    let mut sender = connected(Arc::new(())).await;
    let mut slowly = asked(&mut sender, 1 << 20).await;
    let mut read = 0;
    while let Some(frame) = slowly.frame().await {
        let before = read;
        read += frame.expect("it goes on").into_data().expect("data").len();
        let pieces = read / PIECE_BYTES - before / PIECE_BYTES;
        tokio::time::sleep(PATIENCE / 8 * u32::try_from(pieces).expect("few")).await;
    }
    assert_eq!(read, 1 << 20);

    let late = futures::stream::iter(1..=3).then(async |piece| {
        tokio::time::sleep(10 * PATIENCE).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![piece; 20_000])))
    });
    let mut body = Pieces::of(StreamBody::new(Box::pin(late)));
    let sent = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = Arc::clone(&sent);
    let stream = async move {
        while let Some(frame) = body.frame().await {
            assert!(frame.expect("a piece").into_data().expect("data").len() <= PIECE_BYTES);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    Watched { stream, patience: PATIENCE, waits: None }.await;
    assert!(sent.load(std::sync::atomic::Ordering::Relaxed));
}
