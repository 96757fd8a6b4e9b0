//! `nocti logs FUNCTION`: what a function has printed, and what it prints.

use std::io::IsTerminal;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Global;
use super::client::Client;
use super::output;
use crate::logs::plain;
use crate::registry::name::{FunctionName, VersionName};
use crate::registry::since::Since;

/// What `nocti logs` takes.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The function.
    function: FunctionName,
    /// Go on with the lines that come.
    #[arg(short, long)]
    follow: bool,
    /// Lines from then on: how long ago, such as 5m, or a time such as 2026-11-26T14:49:58Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// Lines of one version, or of the one that an alias points at.
    #[arg(long)]
    version: Option<VersionName>,
    /// The last so many of the lines that are there.
    #[arg(short = 'n', long, value_name = "LINES")]
    limit: Option<u32>,
}

/// A line; lenient, because the host may be newer than this client.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) version: Option<String>,
    pub(super) stream: String,
    pub(super) request: Option<String>,
    pub(super) text: String,
    pub(super) cut: bool,
}

pub(super) async fn run(args: &LogsArgs, global: &Global) -> anyhow::Result<()> {
    let (as_json, coloured) = (global.json, std::io::stdout().is_terminal());
    let show = |line: &[u8]| match as_json {
        true => output::piece(&[line, b"\n"].concat()),
        false => output::piece(text(&serde_json::from_slice(line)?, coloured).as_bytes()),
    };
    let had_all = Client::new(global)?.lines(&args.path(), show).await?;
    if had_all && args.follow {
        output::note("that was all: the host stops, or the function is deleted");
    }
    Ok(())
}

impl LogsArgs {
    fn path(&self) -> String {
        let since = self.since.as_deref().map(|since| utf8_percent_encode(since, NON_ALPHANUMERIC).to_string());
        let parameters = [
            ("since", since),
            ("version", self.version.as_ref().map(ToString::to_string)),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("follow", self.follow.then(|| "true".to_owned())),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        format!("/api/functions/{}/logs?{}", self.function, given.collect::<Vec<_>>().join("&"))
    }
}

/// Mistakes are found here; what it means, where the clock of the lines is.
fn since(text: &str) -> Result<String, String> {
    text.parse::<Since>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A line for people. What a function prints must not do anything to their terminal.
fn text(line: &Line, coloured: bool) -> String {
    let Line { time, version, stream, request, text, cut } = line;
    let (version, request) = (version.as_deref().unwrap_or("-"), request.as_deref().unwrap_or("-"));
    let goes_on = if *cut { " ..." } else { "" };
    let (begin, middle, end) = match (coloured, stream.as_str()) {
        (false, _) => ("", "", ""),
        (true, "stderr") => ("\x1b[2m", "\x1b[0;31m", "\x1b[0m"),
        (true, "host") => ("\x1b[2m", "\x1b[0;33m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m", ""),
    };
    let head = format!("{time} {version} {stream:<7} {request}");
    let head = plain(&head);
    format!("{begin}{head} {middle}{}{goes_on}{end}\n", plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Line {
        serde_json::from_str(json).expect("a line")
    }

    #[test]
    fn lines_for_people() {
        let whole = line(
            r#"{"time":"2026-11-26T14:49:58.123Z","version":"1.0.0","stream":"stdout","request":"17","text":"a\tb","cut":true}"#,
        );
        assert_eq!(text(&whole, false), "2026-11-26T14:49:58.123Z 1.0.0 stdout  17 a\tb ...\n");
        let bare = line(r#"{"time":"t","stream":"stderr","text":"x"}"#);
        assert_eq!(text(&bare, false), "t - stderr  - x\n");
        assert_eq!(text(&bare, true), "\u{1b}[2mt - stderr  - \u{1b}[0;31mx\u{1b}[0m\n");
    }

    #[test]
    fn what_a_function_prints_is_text() {
        let hostile = line(r#"{"text":"\u001b[2J\r\u0007\u009b1m","request":"\u001b]0;"}"#);
        let shown = text(&hostile, false);
        assert!(!shown.trim_end_matches('\n').contains(char::is_control), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J\\r\\u{7}"), "{shown}");
    }
}
