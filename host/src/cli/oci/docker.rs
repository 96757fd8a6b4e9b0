//! What `docker login` has kept: `config.json`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The part of the file that says who somebody is.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    /// The program that keeps all passwords.
    creds_store: Option<String>,
    /// Those that keep the passwords for some registries.
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// Name and password, `NAME:PASSWORD` in base64.
    auth: String,
    identitytoken: String,
}

/// Name and password for a registry, if the file in this folder has them.
pub(super) fn credentials(folder: &Path, host: &str) -> anyhow::Result<Option<(String, String)>> {
    let file = folder.join("config.json");
    let text = match std::fs::read_to_string(&file) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let way_out = "; --username and --password-stdin do without";
    found(&text, host).with_context(|| format!("{} is of no help{way_out}", file.display()))
}

fn found(config: &str, host: &str) -> anyhow::Result<Option<(String, String)>> {
    // serde_json would repeat what it stumbles over, which may be the password.
    let Ok(config) = serde_json::from_str::<Config>(config) else { bail!("it is not as Docker writes it") };
    if let Some(helper) = of_host(&config.cred_helpers, host) {
        bail!("it leaves the password of {host} to docker-credential-{helper}, which Nocti does not ask");
    }
    let Some(entry) = of_host(&config.auths, host) else { return Ok(None) };
    if !entry.identitytoken.is_empty() {
        bail!("it has a token for {host} in place of a password, which Nocti cannot use");
    }
    if entry.auth.is_empty() {
        return match config.creds_store {
            Some(store) => {
                bail!("it leaves the password of {host} to docker-credential-{store}, which Nocti does not ask")
            }
            None => Ok(None),
        };
    }
    let decoded = STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
        bail!("what it has for {host} is not NAME:PASSWORD in base64");
    };
    Ok(Some((name.to_owned(), password.trim_end_matches('\0').to_owned())))
}

fn of_host<'e, T>(entries: &'e BTreeMap<String, T>, host: &str) -> Option<&'e T> {
    entries.iter().find_map(|(key, entry)| same(key, host).then_some(entry))
}

/// Whether a key of the file means the registry: old ones are URLs, and Docker Hub has several names.
fn same(key: &str, host: &str) -> bool {
    let plain = |text: &str| {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let text = text.split('/').next().unwrap_or_default().to_owned();
        if ["index.docker.io", "registry-1.docker.io"].contains(&&*text) { "docker.io".to_owned() } else { text }
    };
    plain(key) == plain(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: &str = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOmE6Yg=="}, "r.example.org:5000": {"auth": "bTpw", "email": "x"},
            "token.example.org": {"auth": "bTpw", "identitytoken": "t"}, "odd.example.org": {"auth": "*"}, "kept.example.org": {}},
        "credsStore": "desktop", "credHelpers": {"cloud.example.org": "cloud"}, "HttpHeaders": {}}"#;

    #[test]
    fn names_and_passwords_are_found_by_the_host() {
        let of = |host| found(CONFIG, host).expect("it has them or not");
        assert_eq!(of("docker.io"), Some(("hub".into(), "a:b".into())));
        assert_eq!(of("r.example.org:5000"), Some(("m".into(), "p".into())));
        assert_eq!((of("r.example.org"), of("elsewhere.example.org")), (None, None), "nobody is asked for those");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let said = |config, host| found(config, host).expect_err("of no use").to_string();
        assert!(said(CONFIG, "cloud.example.org").contains("docker-credential-cloud"));
        assert!(said(CONFIG, "kept.example.org").contains("docker-credential-desktop"));
        assert!(said(CONFIG, "token.example.org").contains("token"));
        assert!(said(CONFIG, "odd.example.org").contains("base64"));
        assert_eq!(said(r#"{"auths": "hub:secret"}"#, "docker.io"), "it is not as Docker writes it");
    }

    #[test]
    fn without_the_file_nobody_is_known() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(credentials(folder.path(), "docker.io").expect("no file"), None);
        std::fs::write(folder.path().join("config.json"), "{").expect("a temporary file");
        let said = format!("{:#}", credentials(folder.path(), "docker.io").expect_err("no JSON"));
        assert!(said.contains("config.json") && said.contains("--password-stdin"), "{said}");
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in ".{0,80}", auth in ".{0,20}") {
            let _ = found(&text, "h.example.org");
            let config = serde_json::json!({"auths": {"h.example.org": {"auth": auth}}}).to_string();
            let _ = found(&config, "h.example.org");
        }
    }
}
