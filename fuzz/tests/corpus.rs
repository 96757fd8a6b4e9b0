//! What a fuzzer found worth keeping, once more.

use std::path::Path;

#[test]
fn the_corpus_still_passes() {
    for (name, check) in nocti_fuzz::CHECKS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            // The test's output says which one it was.
            println!("{}", file.display());
            check(&std::fs::read(&file).unwrap());
        }
    }
}
