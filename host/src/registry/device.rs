//! The device a model asks for, as the manifest writes it: `auto`, `cpu`, `cuda` or `cuda:N`.
//!
//! Only the wish. Which device a session really gets is decided, and reported, by whoever opens the session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::excerpt::excerpt;

/// Where a model wants to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first usable device of the server's list.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU: this one, or the first.
    Cuda(Option<u32>),
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a device: write auto, cpu, cuda or cuda:N")]
pub struct NotADevice(String);

impl FromStr for Device {
    type Err = NotADevice;

    fn from_str(text: &str) -> Result<Self, NotADevice> {
        let refuse = || NotADevice(excerpt(text));
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            _ => {
                let index: u32 = text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(refuse)?;
                let device = Self::Cuda(Some(index));
                // `cuda:+1` and `cuda:01` parse as numbers; one text per device keeps the manifest canonical.
                if device.to_string() == text { Ok(device) } else { Err(refuse()) }
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = NotADevice;

    fn try_from(text: String) -> Result<Self, NotADevice> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_one_text() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<Device>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:+1", "cuda:01", "cuda:x", "cuda:4294967296"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }
}
