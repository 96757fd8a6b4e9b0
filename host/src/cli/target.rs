//! `FUNCTION[@VERSION]`, as commands take it.

use std::str::FromStr;

use crate::registry::name::{FunctionName, NameError, VersionName};

/// A function, and one of its versions where the user named one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) function: FunctionName,
    pub(crate) version: Option<VersionName>,
}

impl Target {
    /// The path of the function, or of its version, among the models of the inference protocol.
    pub(crate) fn model_path(&self) -> String {
        match &self.version {
            Some(version) => format!("/v2/models/{}/versions/{version}", self.function),
            None => format!("/v2/models/{}", self.function),
        }
    }
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (function, version) = match text.split_once('@') {
            Some((function, version)) => (function, Some(version)),
            None => (text, None),
        };
        Ok(Self { function: function.parse()?, version: version.map(str::parse).transpose()? })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.function),
            None => self.function.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_optional() {
        let target: Target = "digits@1.0.0".parse().expect("valid");
        assert_eq!(target.model_path(), "/v2/models/digits/versions/1.0.0");
        let target: Target = "digits".parse().expect("valid");
        assert_eq!((target.to_string().as_str(), target.version), ("digits", None));
        for bad in ["", "@1", "digits@", "a@b@c", "../x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
