//! The environment that guests are compiled in on this machine, from the file `guest.env` in the tool folder.
//!
//! `scripts/setup` writes that file where the target wasm32-wasip2 needs more than plain cargo. A line is empty, a comment
//! or `KEY=VALUE`, taken literally; an empty value removes the variable, and `PATH_PREFIX` goes before `PATH`.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

const FILE_NAME: &str = "guest.env";

/// Changes to the environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestEnv {
    path_prefix: Option<String>,
    variables: Vec<(String, String)>,
    /// Whether there was a file.
    pub(crate) found: bool,
}

impl GuestEnv {
    /// Reads the file in the tool folder. Without one, guests are compiled in the environment as it is.
    pub(crate) fn load(tool_folder: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = tool_folder.map(|folder| folder.join(FILE_NAME)) else {
            return Ok(Self::default());
        };
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                Self::parse(&text).with_context(|| format!("{} is not as `scripts/setup` writes it", file.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut env = Self { found: true, ..Self::default() };
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                (line.split_once('=')).with_context(|| format!("line {} is not KEY=VALUE", index + 1))?;
            match key {
                "PATH_PREFIX" => env.path_prefix = Some(value.to_owned()),
                _ => env.variables.push((key.to_owned(), value.to_owned())),
            }
        }
        Ok(env)
    }

    /// A shell that runs `script` in this environment, all that it prints going to standard error.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        match &self.path_prefix {
            Some(prefix) => {
                shell.args(["-c", r#"PATH="$1:$PATH"; export PATH; exec sh -c "$2""#, "sh", prefix, script])
            }
            None => shell.args(["-c", script]),
        };
        for (key, value) in &self.variables {
            match value.is_empty() {
                true => shell.env_remove(key),
                false => shell.env(key, value),
            };
        }
        shell.stdin(Stdio::null()).stdout(io::stderr());
        shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_changed_as_the_file_says() {
        let env = GuestEnv::parse("# how\n\nA=1 2 'x'\nHOME=\nPATH_PREFIX=/opt/guest tools\n").expect("valid");
        let output = env.shell(r#"printf '%s|%s|%s' "$A" "${HOME-gone}" "$PATH""#).stdout(Stdio::piped()).output();
        let printed = String::from_utf8(output.expect("there is a shell").stdout).expect("text");
        assert!(printed.starts_with("1 2 'x'|gone|/opt/guest tools:/"), "{printed}");
    }

    #[test]
    fn without_a_file_nothing_changes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(GuestEnv::load(Some(folder.path())).expect("no file is fine"), GuestEnv::default());
        std::fs::write(folder.path().join(FILE_NAME), "nonsense").expect("a temporary file");
        let error = GuestEnv::load(Some(folder.path())).expect_err("not KEY=VALUE");
        assert!(format!("{error:#}").contains("line 1 is not KEY=VALUE"), "{error:#}");
    }
}
