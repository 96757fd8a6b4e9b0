//! `nocti invoke`: one call of a function.
//!
//! Sends either a whole request of the inference protocol, as it is, or one made from a short form (`payload`), and shows
//! the outputs (`answer`).

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use percent_encoding::percent_decode_str;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{Client, error_message};
use super::target::Target;
use super::{Global, WrongUsage, output};
use crate::registry::excerpt::excerpt;

mod answer;
mod payload;

/// What `nocti invoke` takes.
#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// The function, or one version of it.
    #[arg(value_name = "FUNCTION[@VERSION]")]
    target: Target,
    #[command(flatten)]
    question: Question,
}

/// What a function is asked.
#[derive(Debug, Default, Args)]
pub(crate) struct Question {
    /// What to send: JSON, @FILE, or - for standard input. Either a whole request ({"inputs": [...]}) or just
    /// {"INPUT": DATA, ...}, where DATA is a number, a string or nested arrays of them.
    #[arg(short, long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(super) data: Option<String>,
    /// Send a file's bytes as a BYTES input; may be given more than once.
    #[arg(short, long, value_name = "INPUT=PATH", value_parser = file_input, conflicts_with = "http")]
    pub(super) file: Vec<(String, PathBuf)>,
    /// Ask why the function answers as it does, not what.
    #[arg(long, conflicts_with = "http")]
    explain: bool,
    /// Send a plain HTTP request to PATH of an http function: a POST with -d, a GET without.
    #[arg(long, value_name = "PATH")]
    http: Option<String>,
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Reply {
    /// Tensors, in the inference protocol's form.
    Tensors(Bytes),
    /// What an http function answers.
    Http(StatusCode, Bytes),
}

pub(super) async fn run(args: &InvokeArgs, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match args.question.ask(&client, &args.target).await? {
        Reply::Tensors(answer) if global.json => {
            let line_break: &[u8] = if answer.ends_with(b"\n") { b"" } else { b"\n" };
            output::bytes(&[&answer, line_break].concat())
        }
        Reply::Tensors(answer) => output::text(&answer::text(&answer)?),
        Reply::Http(status, body) => show_http(status, &body),
    }
}

/// What an http function answers is printed as it is.
fn show_http(status: StatusCode, body: &[u8]) -> anyhow::Result<()> {
    if status.is_success() {
        let ends_line = body.ends_with(b"\n") || body.is_empty() || !std::io::stdout().is_terminal();
        output::bytes(body)?;
        return if ends_line { Ok(()) } else { output::bytes(b"\n") };
    }
    if let Some(message) = error_message(body) {
        anyhow::bail!("{message}");
    }
    output::bytes(body)?;
    anyhow::bail!("the function answered with HTTP {status}");
}

impl Question {
    /// Whether there is anything to ask.
    pub(super) fn is_asked(&self) -> bool {
        self.data.is_some() || !self.file.is_empty() || self.http.is_some()
    }

    /// The files that it is made of.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let data = self.data.as_deref().and_then(|data| data.strip_prefix('@')).map(PathBuf::from);
        data.into_iter().chain(self.file.iter().map(|(_, path)| path.clone()))
    }

    /// Finds the mistakes that show without a host and without files.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match (&self.http, self.data.as_deref()) {
            (Some(path), _) => below(path).map(drop),
            (None, Some(data)) if data != "-" && !data.starts_with('@') => {
                whole_request(Some(data.as_bytes())).map(drop)
            }
            (None, _) => Ok(()),
        }
    }

    /// Asks a function.
    pub(super) async fn ask(&self, client: &Client, target: &Target) -> anyhow::Result<Reply> {
        let path = self.http.as_deref().map(below).transpose()?;
        let data = self.data.as_deref().map(read_data).transpose()?;
        if let Some(path) = path {
            let method = if data.is_some() { Method::POST } else { Method::GET };
            let answer = client.raw(method, &format!("/functions/{target}/{path}"), data.unwrap_or_default()).await;
            return answer.map(|(status, body)| Reply::Http(status, body));
        }
        let path = target.model_path();
        let signature = payload::signature(client.get(&path).await?)?;
        let request = match whole_request(data.as_deref())? {
            Some(request) if self.file.is_empty() => request,
            Some(_) => return Err(WrongUsage("--file goes with -d '{\"INPUT\": DATA}' only".to_owned()).into()),
            None => {
                let inputs = data.as_deref().map(payload::short_form).transpose()?.unwrap_or_default();
                payload::request(&target.to_string(), &signature, inputs, &self.file)?
            }
        };
        let path = match (self.explain, signature.has_halves()) {
            (true, _) => format!("{path}/explain"),
            (false, false) => format!("{path}/infer"),
            // The same, but takes and gives halves as numbers.
            (false, true) => format!("/functions/{target}"),
        };
        Ok(Reply::Tensors(client.post_json(&path, request).await?))
    }
}

impl Reply {
    /// As people read it.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        match self {
            Self::Tensors(answer) => answer::text(answer),
            Self::Http(status, body) => Ok(format!("HTTP {status}\n{}", String::from_utf8_lossy(body))),
        }
    }
}

/// A path as it goes on after a function's name. One with dots for a part is refused: whatever reads the URL takes them for a way up,
/// past the name and to what is no business of the function's.
fn below(path: &str) -> anyhow::Result<&str> {
    let path = path.trim_start_matches('/');
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let is_dots = |part: &str| {
        // A URL's reader leaves out line breaks, and spaces at the end.
        let part: String = part.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
        matches!(&*percent_decode_str(&part).collect::<Vec<u8>>(), b"." | b"..")
    };
    // It also takes a backslash for a slash.
    if path[..end].split(['/', '\\']).any(is_dots) {
        let usage = format!(
            "--http '{}': it goes on from the function's own path, so no part of it may be '.' or '..', percent-encoded or not",
            excerpt(path)
        );
        return Err(WrongUsage(usage).into());
    }
    Ok(path)
}

fn read_data(data: &str) -> anyhow::Result<Vec<u8>> {
    match (data, data.strip_prefix('@')) {
        ("-", _) => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
            Ok(bytes)
        }
        (_, Some(file)) => std::fs::read(file).with_context(|| format!("cannot read {file}")),
        (_, None) => Ok(data.as_bytes().to_vec()),
    }
}

/// The data, if it is a request already and to be sent as it is.
fn whole_request(data: Option<&[u8]>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(data) = data else { return Ok(None) };
    // Only the outermost keys are looked at, so that a large request is not made a tree of values.
    let outer: indexmap::IndexMap<String, &serde_json::value::RawValue> =
        serde_json::from_slice(data).map_err(|error| WrongUsage(format!("-d is not a JSON object: {error}")))?;
    let is_request = outer.get("inputs").is_some_and(|inputs| {
        let inputs: Result<Vec<Value>, _> = serde_json::from_str(inputs.get());
        inputs.is_ok_and(|inputs| inputs.iter().all(|input| input.get("name").is_some()))
    });
    Ok(is_request.then(|| data.to_vec()))
}

fn file_input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((input, path)) if !input.is_empty() && !path.is_empty() => Ok((input.to_owned(), path.into())),
        _ => Err("write INPUT=PATH".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request_is_told_from_the_short_form() {
        let is_whole = |text: &str| whole_request(Some(text.as_bytes())).expect("an object").is_some();
        assert!(is_whole(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#));
        assert!(!is_whole(r#"{"inputs":[1,2,3]}"#), "a function may call an input `inputs`");
        assert!(!is_whole(r#"{"x":[1,2,3]}"#));
        let error = whole_request(Some(b"[1,2]")).expect_err("no object");
        assert!(error.is::<WrongUsage>(), "{error}");
    }

    #[test]
    fn a_path_stays_below_the_function() {
        for (path, expected) in [
            ("/", ""),
            ("//a/b.c?x=../..", "a/b.c?x=../.."),
            ("/.../..a/a../%2e%2e%2e", ".../..a/a../%2e%2e%2e"),
            ("?x#/..", "?x#/.."),
        ] {
            assert_eq!(below(path).expect("it is below"), expected, "{path}");
        }
        for path in [
            "/../../api/status",
            "../../api/status",
            "/%2e%2e/%2E./api/status",
            "/a/.%2e?x",
            "/.",
            "/a/%2E/b",
            "..\\..\\api",
            "/.\t./.\n./api",
            "/a/..#x",
            "/a/.. ",
        ] {
            let error = below(path).expect_err("it may lead elsewhere");
            assert!(error.is::<WrongUsage>(), "{path}: {error}");
        }
    }

    #[test]
    fn mistakes_show_before_anybody_is_asked() {
        let question = |data: &str, http: Option<&str>| {
            let http = http.map(str::to_owned);
            Question { data: Some(data.to_owned()), http, ..Question::default() }.check()
        };
        for (data, http) in [("{}", None), ("@{bad", None), ("-", None), ("{bad", Some("/echo"))] {
            question(data, http).expect("nothing is wrong with it");
        }
        assert!(Question::default().check().is_ok());
        for (data, http) in [("{bad", None), ("[1]", None), ("{}", Some("/.."))] {
            assert!(question(data, http).expect_err("a mistake").is::<WrongUsage>(), "{data}");
        }
    }

    #[test]
    fn data_comes_from_where_it_says() {
        assert_eq!(read_data("{}").expect("itself"), b"{}");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "[1]").expect("a temporary file");
        assert_eq!(read_data(&format!("@{}", file.path().display())).expect("readable"), b"[1]");
        assert!(read_data("@/nowhere/at all").is_err());
        assert_eq!(file_input("png=a=b.png"), Ok(("png".to_owned(), PathBuf::from("a=b.png"))));
        assert!(file_input("=x").is_err());
    }
}
