//! A process that may not open any more: connections wait until others end.

use nocti_tests::{HostProcess, nocti};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test]
async fn a_host_out_of_descriptors_serves_again_when_it_has_some() {
    let store = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"]).arg(nocti().as_std().get_program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store"]).arg(store.path());
    let host = HostProcess::spawn(command).await;
    let address = host.url.trim_start_matches("http://");
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    host.logged("cannot accept a connection").await;
    // Whoever comes now waits as well.
    let mut late = TcpStream::connect(address).await.unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    drop(idle);
    late.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    host.signal("TERM").await;
    let (code, log) = host.wait().await;
    assert_eq!(code, Some(0), "{log}");
}
