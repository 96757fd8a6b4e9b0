//! The server's configuration: defaults < TOML file < `NOCTI_*` environment < flags.
//!
//! Every source speaks through the same table of keys, so they cannot differ in what they accept, and all mistakes of all
//! sources are reported together. Nothing else in the crate reads the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lifecycle::Idle;
use crate::logs;
use crate::nn::{library, memory};
use crate::registry::store::location::{Location, LocationError};
use crate::registry::{spool, units};

mod lists;
use lists::{set_devices, set_origins};

/// Beside where the host is started.
const DEFAULT_FOLDER: &str = "./nocti-data";

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where gRPC is served.
    pub grpc_listen: SocketAddr,
    /// Where what is deployed is kept.
    pub store: Location,
    /// This node's folder for what can be made anew; empty: `cache` inside the store's folder.
    pub cache_dir: PathBuf,
    /// How long requests in flight may go on after the signal to stop.
    pub drain_timeout: Duration,
    /// What is logged, in tracing's filter syntax.
    pub log: String,
    pub onnxruntime: library::Config,
    /// Bytes of `cache_dir` that are kept.
    pub cache_limit: u64,
    /// What loaded models may take.
    pub memory: memory::Config,
    /// How long what nobody uses stays in memory.
    pub idle: Idle,
    /// Whether a model that was asleep answers at first in the form that is loaded sooner, which rounds in another order.
    pub quick_start: bool,
    /// Bytes of one request body, deploys excepted.
    pub body_bytes: u64,
    /// Requests in the host at once, waiting ones included.
    pub held_requests: usize,
    /// Connections that are open at once.
    pub connections: usize,
    /// Origins of web pages that may call the host; `*`: all.
    pub cors_origins: Vec<String>,
    /// What is kept of what functions print.
    pub logs: logs::Config,
    /// How long a blob that nothing refers to is kept, and again in the trash; longer than any host's slowest step of a deploy.
    pub blob_grace: Duration,
    /// What blobs that are being sent may take.
    pub uploads: spool::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 8001)),
            store: Path::new(DEFAULT_FOLDER).into(),
            cache_dir: PathBuf::new(),
            drain_timeout: Duration::from_secs(30),
            log: "info".into(),
            onnxruntime: library::Config {
                library: String::new(),
                devices: vec!["cuda".into(), "cpu".into()],
                threads: 0,
            },
            cache_limit: 20 << 30,
            memory: memory::Config::default(),
            idle: Idle { model: Duration::from_secs(5 * 60), component: Duration::from_secs(30 * 60) },
            quick_start: true,
            body_bytes: 64 << 20,
            held_requests: 4096,
            connections: 10_000,
            cors_origins: Vec::new(),
            logs: logs::Config::default(),
            blob_grace: Duration::from_secs(24 * 3600),
            uploads: spool::Config::default(),
        }
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has mistakes:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

/// One key: how it is set from text and written as TOML.
struct Key {
    name: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> toml::Value,
}

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        set: |config, text| assign(&mut config.listen, text.parse(), "an address such as 127.0.0.1:8000"),
        get: |config| config.listen.to_string().into(),
    },
    Key {
        name: "grpc_listen",
        set: |config, text| assign(&mut config.grpc_listen, text.parse(), "an address such as 127.0.0.1:8001"),
        get: |config| config.grpc_listen.to_string().into(),
    },
    Key {
        name: "store",
        set: |config, text| text.parse().map(|it| config.store = it).map_err(|error: LocationError| error.to_string()),
        get: |config| config.store.to_string().into(),
    },
    Key {
        name: "cache_dir",
        set: |config, text| folder(&mut config.cache_dir, text),
        get: |config| config.cache_dir().display().to_string().into(),
    },
    Key {
        name: "cache_limit",
        set: |config, text| assign(&mut config.cache_limit, units::parse_size(text), "a size such as 20GiB"),
        get: |config| units::format_size(config.cache_limit).into(),
    },
    Key {
        name: "drain_timeout",
        set: |config, text| assign(&mut config.drain_timeout, units::parse_duration(text), "a time such as 30s"),
        get: |config| units::format_duration(config.drain_timeout).into(),
    },
    Key { name: "log", set: |config, text| words(&mut config.log, text), get: |config| config.log.clone().into() },
    Key {
        name: "onnxruntime.library",
        set: |config, text| words(&mut config.onnxruntime.library, text),
        get: |config| config.onnxruntime.library.clone().into(),
    },
    Key {
        name: "onnxruntime.threads",
        set: |config, text| match text.parse() {
            Ok(count) if count <= 1024 => {
                config.onnxruntime.threads = count;
                Ok(())
            }
            _ => Err(format!("'{text}' is not a number from 0 to 1024")),
        },
        get: |config| i64::from(config.onnxruntime.threads).into(),
    },
    Key { name: "onnxruntime.devices", set: set_devices, get: |config| config.onnxruntime.devices.clone().into() },
    Key {
        name: "memory.models",
        set: |config, text| bytes_or_auto(&mut config.memory.models, text),
        get: |config| auto_or_bytes(config.memory.models),
    },
    Key {
        name: "memory.device_models",
        set: |config, text| bytes_or_auto(&mut config.memory.device_models, text),
        get: |config| auto_or_bytes(config.memory.device_models),
    },
    Key {
        name: "lifecycle.model_idle",
        set: |config, text| assign(&mut config.idle.model, units::parse_duration(text), "a time such as 5m"),
        get: |config| units::format_duration(config.idle.model).into(),
    },
    Key {
        name: "lifecycle.component_idle",
        set: |config, text| assign(&mut config.idle.component, units::parse_duration(text), "a time such as 30m"),
        get: |config| units::format_duration(config.idle.component).into(),
    },
    Key {
        name: "lifecycle.quick_start",
        set: |config, text| assign(&mut config.quick_start, text.parse(), "true or false"),
        get: |config| config.quick_start.into(),
    },
    Key {
        name: "limits.body",
        set: |config, text| assign(&mut config.body_bytes, units::parse_size(text), "a size such as 64MiB"),
        get: |config| units::format_size(config.body_bytes).into(),
    },
    Key {
        name: "limits.held_requests",
        set: |config, text| at_least_one(&mut config.held_requests, text),
        get: |config| i64::try_from(config.held_requests).unwrap_or(i64::MAX).into(),
    },
    Key {
        name: "limits.connections",
        set: |config, text| at_least_one(&mut config.connections, text),
        get: |config| i64::try_from(config.connections).unwrap_or(i64::MAX).into(),
    },
    Key {
        name: "http.cors_origins",
        set: |config, text| set_origins(&mut config.cors_origins, text),
        get: |config| config.cors_origins.clone().into(),
    },
    Key {
        name: "logs.dir",
        set: |config, text| folder(&mut config.logs.dir, text),
        get: |config| config.logs_dir().display().to_string().into(),
    },
    Key {
        name: "logs.max_bytes",
        set: |config, text| assign(&mut config.logs.max_bytes, units::parse_size(text), "a size such as 8MiB"),
        get: |config| units::format_size(config.logs.max_bytes).into(),
    },
    Key {
        name: "logs.max_age",
        set: |config, text| assign(&mut config.logs.max_age, units::parse_duration(text), "a time such as 168h"),
        get: |config| units::format_duration(config.logs.max_age).into(),
    },
    Key {
        name: "logs.requests",
        set: |config, text| assign(&mut config.logs.requests, text.parse(), "true or false"),
        get: |config| config.logs.requests.into(),
    },
    Key {
        name: "blobs.grace",
        set: |config, text| {
            let grace = units::parse_duration(text).ok().filter(|grace| *grace >= Duration::from_secs(1));
            assign(&mut config.blob_grace, grace.ok_or(()), "a time of a second at least, such as 24h")
        },
        get: |config| units::format_duration(config.blob_grace).into(),
    },
    Key {
        name: "uploads.max_bytes",
        set: |config, text| assign(&mut config.uploads.max_bytes, units::parse_size(text), "a size such as 20GiB"),
        get: |config| units::format_size(config.uploads.max_bytes).into(),
    },
    Key {
        name: "uploads.max_age",
        set: |config, text| assign(&mut config.uploads.max_age, units::parse_duration(text), "a time such as 24h"),
        get: |config| units::format_duration(config.uploads.max_age).into(),
    },
];

/// Environment variables that are ours but no configuration of the server.
const OTHER_VARIABLES: &[&str] = &["NOCTI_SERVER", "NOCTI_HOME"];

impl Config {
    /// Reads all sources. `flags` are (key, value) pairs from the command line.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        if let Some(path) = file {
            let shown = path.display();
            match std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| flatten(&text)) {
                Ok(entries) => {
                    for (name, value) in entries {
                        config.set(&name, &value, &format!("{shown}: {name}"), &mut mistakes);
                    }
                }
                Err(error) => mistakes.push(format!("{shown}: {}", error.trim_end())),
            }
        }
        for (variable, value) in variables() {
            let name = KEYS.iter().map(|key| key.name).find(|name| variable_name(name) == variable);
            config.set(name.unwrap_or_default(), &value, &variable, &mut mistakes);
        }
        for (name, value) in flags {
            config.set(name, value, &format!("--{}", name.replace('_', "-")), &mut mistakes);
        }
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError(mistakes)) }
    }

    /// The folder for compiled components and other things of this node's own.
    pub fn cache_dir(&self) -> PathBuf {
        match &self.store {
            _ if !self.cache_dir.as_os_str().is_empty() => self.cache_dir.clone(),
            Location::Folder(folder) => folder.join("cache"),
            Location::Bucket(_) => Path::new(DEFAULT_FOLDER).join("cache"),
        }
    }

    /// This node's folder for what functions print.
    pub fn logs_dir(&self) -> PathBuf {
        if self.logs.dir.as_os_str().is_empty() { self.cache_dir().join("logs") } else { self.logs.dir.clone() }
    }

    /// The effective values as TOML that `--config` takes.
    pub fn to_toml(&self) -> String {
        let mut root = toml::Table::new();
        for key in KEYS {
            let value = (key.get)(self);
            match key.name.split_once('.') {
                None => root.insert(key.name.into(), value),
                Some((table, name)) => root
                    .entry(table)
                    .or_insert_with(|| toml::Table::new().into())
                    .as_table_mut()
                    .and_then(|table| table.insert(name.into(), value)),
            };
        }
        root.to_string()
    }

    /// `origin` is where the value comes from, for messages.
    fn set(&mut self, name: &str, value: &str, origin: &str, mistakes: &mut Vec<String>) {
        let result = match KEYS.iter().find(|key| key.name == name) {
            Some(key) => (key.set)(self, value),
            None => Err("there is no such setting".into()),
        };
        if let Err(mistake) = result {
            mistakes.push(format!("{origin}: {mistake}"));
        }
    }
}

/// The folder of downloaded tools, where `scripts/setup` puts ONNX Runtime.
pub fn tool_folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("NOCTI_HOME")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("nocti")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/nocti")))
}

/// The environment's settings for the server. What is not UTF-8 is no setting.
fn variables() -> Vec<(String, String)> {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("NOCTI_") && !OTHER_VARIABLES.contains(&name.as_str()))
        // What Kubernetes tells every pod about a service that is called nocti.
        .filter(|(name, _)| !name.starts_with("NOCTI_SERVICE_") && !name.starts_with("NOCTI_PORT"))
        .collect()
}

fn variable_name(key: &str) -> String {
    format!("NOCTI_{}", key.replace('.', "_").to_uppercase())
}

/// A TOML file as dotted keys with their values in words.
fn flatten(text: &str) -> Result<Vec<(String, String)>, String> {
    fn in_words(value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        }
    }
    let root: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut entries = Vec::new();
    for (name, value) in root {
        match value {
            toml::Value::Table(table) => {
                entries.extend(table.iter().map(|(key, value)| (format!("{name}.{key}"), in_words(value))));
            }
            other => entries.push((name, in_words(&other))),
        }
    }
    Ok(entries)
}

fn assign<T, E>(place: &mut T, parsed: Result<T, E>, expected: &str) -> Result<(), String> {
    *place = parsed.map_err(|_| format!("this is not {expected}"))?;
    Ok(())
}

fn bytes_or_auto(place: &mut Option<u64>, text: &str) -> Result<(), String> {
    if text == "auto" {
        *place = None;
        return Ok(());
    }
    *place = Some(units::parse_size(text).map_err(|_| "this is not a size such as 4GiB, or auto".to_owned())?);
    Ok(())
}

fn auto_or_bytes(value: Option<u64>) -> toml::Value {
    value.map_or_else(|| "auto".into(), |bytes| units::format_size(bytes).into())
}

fn words(place: &mut String, text: &str) -> Result<(), String> {
    text.clone_into(place);
    Ok(())
}

fn folder(place: &mut PathBuf, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the path of a folder is needed".into());
    }
    if text.contains("://") {
        return Err(format!("'{text}': this has to be a folder of this machine"));
    }
    *place = PathBuf::from(text);
    Ok(())
}

fn at_least_one(field: &mut usize, text: &str) -> Result<(), String> {
    match text.parse() {
        Ok(count) if count > 0 => {
            *field = count;
            Ok(())
        }
        _ => Err(format!("'{text}' is not a number of at least 1")),
    }
}

#[cfg(test)]
mod tests;
