//! The host that `nocti dev` runs in its own process, over a store that ends with it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DevArgs;
use crate::app::App;
use crate::config::{self, Config};
use crate::registry::store::location::Location;

/// Requests that are in flight at the end have so long: nobody depends on this host.
const DRAIN: Duration = Duration::from_secs(1);

/// Ports that are tried where the usual one is taken.
const TRIED: u16 = 100;

/// How the host is set up, before it is there.
pub(super) struct Plan {
    config: Config,
    /// The usual address, if that is taken.
    instead_of: Option<SocketAddr>,
    /// The store, if it is of no use afterwards.
    temporary: Option<TempDir>,
}

/// A running host.
pub(super) struct OwnHost {
    pub(super) address: SocketAddr,
    pub(super) grpc_address: SocketAddr,
    /// The usual address, if that is taken.
    pub(super) instead_of: Option<SocketAddr>,
    stop: CancellationToken,
    done: JoinHandle<bool>,
    _store: Option<TempDir>,
}

impl Plan {
    /// From the options, the environment and the file.
    pub(super) fn new(args: &DevArgs) -> anyhow::Result<Self> {
        let mut config = Config::load(args.config.as_deref(), &args.flags())?;
        let temporary = match args.store {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("nocti-dev-").tempdir().context("no temporary folder")?),
        };
        if let Some(folder) = &temporary {
            keep_apart(&mut config, folder.path());
        }
        config.logs.requests = true;
        config.drain_timeout = config.drain_timeout.min(DRAIN);
        let usual = Config::default();
        if config.log == usual.log {
            // What concerns the function is in its log, which is shown.
            config.log = "error".to_owned();
        }
        let wanted = config.listen;
        if args.listen.is_none() && config.listen == usual.listen {
            config.listen = free(config.listen, None);
        }
        if args.grpc_listen.is_none() && config.grpc_listen == usual.grpc_listen {
            config.grpc_listen = free(config.grpc_listen, Some(config.listen));
        }
        let instead_of = (config.listen != wanted).then_some(wanted);
        Ok(Self { config, instead_of, temporary })
    }

    /// What the host logs.
    pub(super) fn log(&self) -> &str {
        &self.config.log
    }

    /// Starts it.
    pub(super) async fn start(self) -> anyhow::Result<OwnHost> {
        let Self { config, instead_of, temporary } = self;
        let app = App::build(config).await?;
        let (address, grpc_address, stop) = (app.address(), app.grpc_address(), CancellationToken::new());
        let done = tokio::spawn(app.run(stop.clone()));
        Ok(OwnHost { address, grpc_address, instead_of, stop, done, _store: temporary })
    }
}

impl OwnHost {
    /// Ends it; what is in flight has a moment to finish.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.done.await.map(drop).context("the host failed")
    }
}

/// What goes with the store is in its folder. What was compiled and prepared stays for the next time.
fn keep_apart(config: &mut Config, store: &Path) {
    config.store = Location::Folder(store.to_owned());
    if config.logs.dir.as_os_str().is_empty() {
        config.logs.dir = store.join("logs");
    }
    if config.cache_dir.as_os_str().is_empty() {
        let kept = config::tool_folder().map(|folder| folder.join("dev"));
        config.cache_dir = kept.unwrap_or_else(|| store.join("cache"));
    }
}

/// The address, or the nearest after it that nobody has, `not` aside. Whoever takes it meanwhile makes the start fail, which says so.
fn free(address: SocketAddr, not: Option<SocketAddr>) -> SocketAddr {
    let ports = address.port()..=address.port().saturating_add(TRIED);
    let mut addresses = ports.map(|port| SocketAddr::new(address.ip(), port)).filter(|address| Some(*address) != not);
    addresses.find(|address| TcpListener::bind(address).is_ok()).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        let address = taken.local_addr().expect("it has one");
        let next = free(address, None);
        assert!(next.port() > address.port() || address.port() > u16::MAX - TRIED, "{next}");
        assert_ne!(free(address, Some(next)), next);
        drop(taken);
    }
}
