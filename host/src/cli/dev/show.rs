//! What `nocti dev` tells: a line for each thing that happens, for people or as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::logs::Line;
use super::super::output;
use crate::logs::plain;

/// A request's id is known by so much of it.
const ID_CHARS: usize = 8;

/// What happens.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'e> {
    /// A host is there, or should be: without `grpc` it is another one.
    Serving { url: &'e str, grpc: Option<SocketAddr>, instead_of: Option<SocketAddr> },
    /// Files are not what they were.
    Changed { files: Vec<String> },
    /// The build command runs.
    Building { command: &'e str },
    /// A version answers from now on.
    Deployed { function: &'e str, version: &'e str, built_ms: u64, deployed_ms: u64 },
    /// Nothing came of it; `serving` goes on answering.
    Failed { error: String, output: String, serving: Option<&'e str> },
    /// What was asked after the deploy was answered.
    Answered { ms: f64, answer: Value },
    /// It was not.
    Unanswered { error: String },
    /// A line of the function's log.
    Log(Value),
    /// It comes to its end.
    Stopping,
}

/// Where events are told.
#[derive(Debug, Clone)]
pub(super) struct Show {
    as_json: bool,
    /// Nobody reads them any more.
    unread: CancellationToken,
}

impl Show {
    pub(super) fn new(as_json: bool) -> Self {
        Self { as_json, unread: CancellationToken::new() }
    }

    /// Whether answers are wanted as JSON.
    pub(super) fn as_json(&self) -> bool {
        self.as_json
    }

    /// Waits until nobody reads what is told.
    pub(super) async fn unread(&self) {
        self.unread.cancelled().await;
    }

    /// Tells of an event.
    pub(super) fn event(&self, event: &Event<'_>) {
        let text = match self.as_json {
            true => serde_json::to_string(event).unwrap_or_default() + "\n",
            false => text(event, &Utc::now().format("%H:%M:%S%.3f").to_string()),
        };
        if !output::piece(text.as_bytes()).is_ok_and(|is_read| is_read) {
            self.unread.cancel();
        }
    }
}

/// For people; `now` is the time of day.
fn text(event: &Event<'_>, now: &str) -> String {
    let said = match event {
        Event::Serving { url, grpc, instead_of } => {
            let taken = instead_of.map(|address| format!("{address} is taken: ")).unwrap_or_default();
            match grpc {
                Some(address) => format!("{taken}serving on {url}, gRPC on {address}"),
                // Another host, which nobody has asked yet whether it is there.
                None => format!("deploying to {url}"),
            }
        }
        Event::Changed { files } => format!("changed: {}", files.join(", ")),
        Event::Building { command } => format!("building: {command}"),
        Event::Deployed { function, version, built_ms, deployed_ms } => {
            let (built, deployed) = (span(*built_ms), span(*deployed_ms));
            format!("built in {built}, deployed in {deployed}: {function} {version}")
        }
        Event::Failed { error, output, serving } => {
            let serving = serving.map(|version| format!("\n{version} goes on answering")).unwrap_or_default();
            format!("not deployed: {error}\n{output}{}", serving.trim_start_matches(ends_line(output)))
        }
        Event::Answered { ms, answer } => {
            format!("answered in {ms:.1} ms\n{}", answer.as_str().unwrap_or_default())
        }
        Event::Unanswered { error } => format!("no answer: {error}"),
        Event::Log(line) => return log_line(&Line::deserialize(line).unwrap_or_default()),
        Event::Stopping => "stopping".to_owned(),
    };
    format!("{now} {}\n", said.trim_end())
}

/// Before what comes after a text: its line has ended already, or not.
fn ends_line(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') { "\n" } else { "" }
}

fn log_line(line: &Line) -> String {
    let time = line.time.split_once('T').map_or(line.time.as_str(), |(_, time)| time.trim_end_matches('Z'));
    let id: String = line.request.as_deref().unwrap_or("-").chars().take(ID_CHARS).collect();
    let goes_on = if line.cut { " ..." } else { "" };
    format!("{} {}{goes_on}\n", plain(&format!("{time} {:<7} {id}", line.stream)), plain(&line.text))
}

/// A length of time.
fn span(ms: u64) -> String {
    let time = Duration::from_millis(ms);
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", time.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_for_people() {
        let told = |event: Event<'_>| text(&event, "NOW");
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (grpc, instead_of) = (Some(address(8002)), Some(address(8000)));
        let serving = Event::Serving { url: "http://127.0.0.1:8001", grpc, instead_of };
        let expected = "NOW 127.0.0.1:8000 is taken: serving on http://127.0.0.1:8001, gRPC on 127.0.0.1:8002\n";
        assert_eq!(told(serving), expected);
        let other = Event::Serving { url: "http://h:1", grpc: None, instead_of: None };
        assert_eq!(told(other), "NOW deploying to http://h:1\n");
        let deployed = Event::Deployed { function: "f", version: "1-dev.2", built_ms: 1234, deployed_ms: 40 };
        assert_eq!(told(deployed), "NOW built in 1.2 s, deployed in 40 ms: f 1-dev.2\n");
        for (output, serving, expected) in [
            ("one\ntwo\n", Some("1-dev.2"), "NOW not deployed: why\none\ntwo\n1-dev.2 goes on answering\n"),
            ("one", Some("1-dev.2"), "NOW not deployed: why\none\n1-dev.2 goes on answering\n"),
            ("", Some("1-dev.2"), "NOW not deployed: why\n1-dev.2 goes on answering\n"),
            ("", None, "NOW not deployed: why\n"),
        ] {
            let failed = Event::Failed { error: "why".to_owned(), output: output.to_owned(), serving };
            assert_eq!(told(failed), expected);
        }
        assert_eq!(told(Event::Answered { ms: 12.34, answer: json!("f 1\n") }), "NOW answered in 12.3 ms\nf 1\n");
    }

    #[test]
    fn lines_of_a_log_have_short_ids_and_do_nothing_to_a_terminal() {
        let line = json!({"time": "2026-11-26T14:49:58.123Z", "version": "1", "stream": "stdout",
            "request": "0123456789", "text": "a\u{1b}[2J", "cut": true});
        assert_eq!(text(&Event::Log(line), "NOW"), "14:49:58.123 stdout  01234567 a\\u{1b}[2J ...\n");
        assert_eq!(text(&Event::Log(json!({"time": "t", "stream": "host"})), "NOW"), "t host    - \n");
    }

    #[test]
    fn events_for_scripts_are_objects_that_say_what_they_are() {
        let json = |event: Event<'_>| serde_json::to_value(&event).expect("an object");
        assert_eq!(json(Event::Stopping), json!({"event": "stopping"}));
        assert_eq!(json(Event::Log(json!({"text": "x"}))), json!({"event": "log", "text": "x"}));
        let answered = Event::Answered { ms: 1.5, answer: json!({"outputs": []}) };
        assert_eq!(json(answered), json!({"event": "answered", "ms": 1.5, "answer": {"outputs": []}}));
    }
}
