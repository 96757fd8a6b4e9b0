use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let mut config = Config::default();
    config.idle.model = Duration::from_millis(1500);
    config.memory.models = Some(3 << 30);
    config.cache_dir = config.cache_dir();
    config.logs.dir = config.logs_dir();
    let printed = file(&config.to_toml());
    assert_eq!(Config::load(Some(printed.path()), &[]).expect("it is valid"), config);
}

#[test]
fn flags_win_over_the_file() {
    let file = file("listen = \"127.0.0.1:1\"\n[limits]\nheld_requests = 7\n");
    let config = Config::load(Some(file.path()), &[("listen", "127.0.0.1:2".into())]).expect("it is valid");
    assert_eq!((config.listen.port(), config.held_requests), (2, 7));
}

#[test]
fn all_mistakes_are_reported_together() {
    let file = file("lisen = \"x\"\ndrain_timeout = \"long\"\n[onnxruntime]\ndevices = [\"tpu\"]\n");
    let error =
        Config::load(Some(file.path()), &[("listen", "nowhere".into())]).expect_err("four mistakes").to_string();
    for part in
        ["lisen: there is no such setting", "drain_timeout: this is not a time", "'tpu'", "--listen: this is not"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
}
