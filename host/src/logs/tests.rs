//! The room as a whole, over real files.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn open(folder: &Path, config: &Config) -> Logs {
    Logs::open(folder, config).expect("a thread")
}

/// Everything that a reader gets, as JSON.
fn read(logs: &Logs, function: &str, wanted: Wanted) -> Vec<Value> {
    let mut reader = logs.read(function, wanted);
    let mut all = Vec::new();
    loop {
        let Piece { lines, at_end } = reader.piece().expect("it can be read");
        all.extend(lines);
        if at_end {
            let parsed = serde_json::Deserializer::from_slice(&all).into_iter().collect::<Result<_, _>>();
            return parsed.expect("lines are JSON");
        }
    }
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["text"].as_str().expect("a text")).collect()
}

fn bytes(folder: &Path) -> u64 {
    files::list(folder).iter().map(|(_, path)| std::fs::metadata(path).expect("it is there").len()).sum()
}

#[tokio::test]
async fn what_is_written_is_read_by_version_time_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = open(folder.path(), &Config::default());
    let (first, second) = (logs.of("f", "1"), logs.of("f", "2"));
    first.line(Stream::Stdout, Some("a"), "one", false);
    second.line(Stream::Stderr, None, "two\u{1b}\n\"", true);
    logs.of("g", "1").line(Stream::Stdout, None, "another's", false);
    logs.close().await;
    let lines = read(&logs, "f", Wanted::default());
    assert_eq!(texts(&lines), ["one", "two\u{1b}\n\""]);
    assert_eq!((&lines[0]["request"], &lines[0]["cut"]), (&"a".into(), &Value::Null));
    assert_eq!((&lines[1]["stream"], &lines[1]["cut"]), (&"stderr".into(), &true.into()));
    let of = |version: &str| Wanted { version: Some(version.into()), ..Wanted::default() };
    assert_eq!(texts(&read(&logs, "f", of("1"))), ["one"]);
    let later = Wanted { since: Some(chrono::Utc::now() + chrono::TimeDelta::minutes(1)), ..Wanted::default() };
    assert!(read(&logs, "f", later).is_empty());
    for (limit, count) in [(0, 0), (1, 1), (2, 2), (9, 2)] {
        assert_eq!(read(&logs, "f", Wanted { limit: Some(limit), ..Wanted::default() }).len(), count, "{limit}");
    }
    assert!(read(&logs, "nobody", Wanted::default()).is_empty());
    assert!(!folder.path().join("nobody").exists(), "reading makes nothing");
}

#[tokio::test]
async fn a_log_outlives_its_writer_and_not_its_function() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in ["one", "two"] {
        let logs = open(folder.path(), &Config::default());
        logs.of("f", "1").line(Stream::Stdout, None, text, false);
        logs.close().await;
    }
    // Of somebody else, and of another host.
    let others =
        ["other/2024.jsonl", "f/2024.jsonl", "g/00000001900000000000.jsonl"].map(|path| folder.path().join(path));
    for path in &others {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, "not ours\n").expect("it can be written");
    }
    let logs = open(folder.path(), &Config::default());
    let deleted = logs.of("f", "1");
    assert_eq!(texts(&read(&logs, "f", Wanted::default())), ["one", "two"]);
    let mut reader = logs.read("f", Wanted::default());
    logs.forget("f");
    assert!(reader.has_ended());
    deleted.line(Stream::Stdout, None, "too late", false);
    logs.of("f", "1").line(Stream::Stdout, None, "anew", false);
    logs.close().await;
    assert_eq!(texts(&read(&logs, "f", Wanted::default())), ["anew"]);
    let _ = reader.piece();
    open(folder.path(), &Config::default()).close().await;
    assert!(others.iter().all(|path| path.exists()), "what is not ours stays");
}

#[tokio::test]
async fn a_flood_of_one_leaves_the_lines_of_another_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = open(folder.path(), &Config::default());
    let (loud, quiet) = (logs.of("loud", "1"), logs.of("quiet", "1"));
    let line = "x".repeat(4096);
    for number in 0..100 {
        (0..100).for_each(|_| loud.line(Stream::Stdout, None, &line, false));
        quiet.line(Stream::Stdout, None, &number.to_string(), false);
    }
    logs.close().await;
    assert_eq!(read(&logs, "quiet", Wanted::default()).len(), 100);
    let lines = read(&logs, "loud", Wanted::default());
    let (told, printed): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["stream"] == "host");
    let told = told.iter().map(|line| line["text"].as_str().expect("a text").split(' ').next().expect("a number"));
    let left_out: usize = told.map(|count| count.parse::<usize>().expect("a number")).sum();
    assert_eq!(printed.len() + left_out, 10_000, "each line is there, or counted");
    assert!(bytes(&folder.path().join("loud")) < 8 << 20);
}

#[test]
fn files_are_bounded_and_the_newest_lines_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Files::new(folder.path().into(), 2000, Duration::from_secs(3600));
    for number in 0..1000 {
        files.append("f", format!("{{\"n\":{number}}}\n").as_bytes()).expect("it can be written");
        assert!(bytes(&folder.path().join("f")) <= 2000);
    }
    // Many at once are parted.
    let many: String = (1000..1500).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    files.append("f", many.as_bytes()).expect("it can be written");
    assert!(bytes(&folder.path().join("f")) <= 2000);
    let (_, newest) = files::list(&folder.path().join("f")).pop().expect("a file");
    assert!(std::fs::read_to_string(newest).expect("text").ends_with("{\"n\":1499}\n"));
    // More functions than files may be open.
    for number in 0..300 {
        files.append(&format!("f{number}"), b"{}\n").expect("it can be written");
    }
    for number in 0..300 {
        assert_eq!(bytes(&folder.path().join(format!("f{number}"))), 3);
    }
}

#[test]
fn what_is_too_old_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Files::new(folder.path().into(), 1 << 20, Duration::ZERO);
    files.append("f", b"{}\n").expect("it can be written");
    files.append("f", b"{}\n").expect("it can be written");
    assert_eq!(files::list(&folder.path().join("f")).len(), 2, "each covers no time at all");
    while bytes(&folder.path().join("f")) > 0 {
        files.sweep();
    }
    assert!(!folder.path().join("f").exists());
    files.append("f", b"{}\n").expect("it is made anew");
    assert_eq!(bytes(&folder.path().join("f")), 3);
}

#[tokio::test]
async fn a_disk_that_fails_costs_lines_which_are_counted() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("logs");
    std::fs::write(&folder, "no folder").expect("it can be written");
    let logs = open(&folder, &Config::default());
    let log = logs.of("f", "1");
    let mut reader = logs.read("f", Wanted::default());
    assert!(reader.piece().expect("nothing is no error").lines.is_empty());
    log.line(Stream::Stdout, None, "lost", false);
    // The writer has tried.
    while !reader.has_news() {
        tokio::task::yield_now().await;
    }
    std::fs::remove_file(&folder).expect("it is there");
    log.line(Stream::Stdout, None, "kept", false);
    logs.close().await;
    let lines = read(&logs, "f", Wanted::default());
    assert!(texts(&lines)[0].starts_with("1 line was left out") && texts(&lines)[1] == "kept", "{lines:?}");
}

proptest! {
    /// A crash or a full disk may leave any part of what was written last, and a reader may look at any time.
    #[test]
    fn what_is_cut_off_costs_one_line(cut in 1_usize..60, more in 1_usize..4) {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |text: &str| {
            let mut bytes = Vec::new();
            let time = line::time(chrono::Utc::now()).into();
            Line { time, version: None, stream: Stream::Host, request: None, text: text.into(), cut: false }.write(&mut bytes);
            bytes
        };
        let new = || Files::new(folder.path().into(), 1 << 20, Duration::from_secs(3600));
        new().append("f", &[line("whole"), line("broken")].concat()).expect("it can be written");
        let (_, path) = files::list(&folder.path().join("f")).pop().expect("a file");
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("it is there");
        file.set_len(file.metadata().expect("it is open").len() - cut as u64).expect("it can be cut");
        let (mut files, function) = (new(), Arc::new(Function::new("f")));
        let place = folder.path().join("f");
        let mut reader = Reader::new(place, function, Wanted::default(), Duration::from_secs(3600));
        let mut seen = reader.piece().expect("it can be read").lines;
        for _ in 0..more {
            files.append("f", &line("after")).expect("it can be written");
            seen.extend(reader.piece().expect("it can be read").lines);
        }
        let seen: Vec<Value> = serde_json::Deserializer::from_slice(&seen).into_iter().collect::<Result<_, _>>().expect("JSON");
        // Without its line break alone it is whole when it has one again.
        let broken = (cut == 1).then_some("broken");
        let expected: Vec<&str> = ["whole"].into_iter().chain(broken).chain(std::iter::repeat_n("after", more)).collect();
        prop_assert_eq!(texts(&seen), expected);
    }
}
