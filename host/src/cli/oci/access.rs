//! How a registry is spoken to: as whom, and whether by http.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use oci_client::secrets::RegistryAuth;

use super::docker;
use super::place::Place;

/// What commands take that speak to a registry.
#[derive(Debug, Default, Args)]
pub(crate) struct Access {
    /// Your name at the registry [default: what `docker login` has kept].
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Speak http with the registry. One on this machine is spoken to so without this.
    #[arg(long)]
    plain_http: bool,
    /// Speak https with a registry on this machine, too.
    #[arg(long, conflicts_with = "plain_http")]
    tls: bool,
    /// The folder of Docker's config.json [default: ~/.docker].
    #[arg(long, value_name = "DIR", env = "DOCKER_CONFIG", hide_env_values = true)]
    docker_config: Option<PathBuf>,
}

impl Access {
    /// Whether something of it was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.username.is_some() || self.plain_http || self.tls
    }

    /// Whether the registry is spoken to by http, where anybody between can read and change what is sent.
    pub(super) fn is_plain(&self, place: &Place) -> bool {
        !self.tls && (self.plain_http || place.is_loopback())
    }

    /// As whom it is spoken to: as the one given, as the one that Docker knows, or as nobody.
    pub(super) fn credentials(&self, place: &Place) -> anyhow::Result<RegistryAuth> {
        if let Some(name) = &self.username {
            let mut password = String::new();
            std::io::stdin().lock().read_to_string(&mut password).context("cannot read the password")?;
            let password = password.trim_end_matches(['\r', '\n']);
            ensure!(!password.is_empty(), "there is no password on standard input");
            return Ok(RegistryAuth::Basic(name.clone(), password.to_owned()));
        }
        let folder = self.docker_config.clone().or_else(|| Some(std::env::home_dir()?.join(".docker")));
        let known = folder.map(|folder| docker::credentials(&folder, place.host())).transpose()?.flatten();
        Ok(known.map_or(RegistryAuth::Anonymous, |(name, password)| RegistryAuth::Basic(name, password)))
    }
}
