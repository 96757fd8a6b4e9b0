use proptest::prelude::*;

use super::super::tests::{deployed, empty};
use super::super::{Catalog, Note};
use super::*;

#[tokio::test]
async fn what_is_written_is_read_and_what_is_damaged_is_nothing() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store).await.unwrap();
    for (function, version) in [("f", "1"), ("f", "2"), ("gone", "1")] {
        deployed(&catalog, function, version).await;
    }
    catalog.delete_function("gone", Note::default()).await.unwrap();
    catalog.shared.show(&"broken".parse().unwrap(), &Entry::Damaged("its revision is empty".into()));
    let bytes = Bytes::from(to_bytes(7, &catalog.shared.snapshot.load()).unwrap());
    let stored = parse(&bytes).expect("it is whole");
    assert_eq!(stored.seen, 7);
    assert_eq!(stored.damaged.iter().map(FunctionName::as_str).collect::<Vec<_>>(), ["broken"]);
    let mut entries = stored.entries;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let [(f, Entry::Usable(Shown { function, .. })), (gone, Entry::Gone(2))] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!((f.as_str(), gone.as_str()), ("f", "gone"));
    let shown = catalog.function("f").unwrap();
    assert_eq!(function.revision, shown.revision);
    for (read, shown) in function.versions.values().zip(shown.versions.values()) {
        assert_eq!((&read.manifest, read.digest), (&shown.manifest, shown.digest));
    }
    for end in 0..bytes.len() {
        assert!(parse(&bytes.slice(..end)).is_none(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
        prop_assert!(parse(&Bytes::from(bytes)).is_none());
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        prop_assert!(parse(&Bytes::from(packed.finish().unwrap())).is_none());
    }
}
