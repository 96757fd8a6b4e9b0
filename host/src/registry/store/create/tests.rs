use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::faulty::{Fault, Faulty};
use super::*;

fn path() -> ObjectPath {
    ObjectPath::from("functions/f/1.json")
}

#[tokio::test(start_paused = true)]
async fn who_has_written_is_told_though_the_answer_was_lost() {
    let objects = Faulty::new();
    let mut faults = VecDeque::from([Fault::Answer]);
    objects.plan(
        move |request, _| if request == "put" { faults.pop_front().unwrap_or(Fault::Nothing) } else { Fault::Nothing },
    );
    assert_eq!(create(&*objects, &path(), "ours".into()).await.unwrap(), Written::ByUs);
    assert_eq!(create(&*objects, &path(), "theirs".into()).await.unwrap(), Written::ByOthers);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_dead_is_given_up_in_the_end() {
    let (objects, began) = (Faulty::new(), Instant::now());
    objects.plan(|_, _| Fault::Request);
    let error = create(&*objects, &path(), "ours".into()).await.expect_err("nothing arrives");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60), "by the clock of the test, which is stopped");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_hangs_is_given_up_and_asked_what_it_did() {
    let objects = Faulty::new();
    let mut faults = VecDeque::from([Fault::Silence, Fault::Silence]);
    objects.plan(move |_, _| faults.pop_front().unwrap_or(Fault::Nothing));
    assert_eq!(create(&*objects, &path(), "ours".into()).await.unwrap(), Written::ByUs);
    let began = Instant::now();
    objects.plan(|_, _| Fault::Silence);
    assert!(create(&*objects, &path(), "theirs".into()).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(60), "by the clock of the test, which is stopped");
}

#[tokio::test]
async fn what_a_folder_refuses_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let objects = object_store::local::LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    std::fs::write(dir.path().join("functions"), "a file is in the way").unwrap();
    let error = create(&objects, &path(), "ours".into()).await.expect_err("there can be no folder");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![3 => Just(Fault::Nothing), 1 => Just(Fault::Request), 1 => Just(Fault::Silence), 2 => Just(Fault::Answer)];
    prop::collection::vec(fault, 0..24)
}

proptest! {
    /// Whatever is lost on the way. Who is told nothing has been kept waiting for long.
    #[test]
    fn of_two_writers_no_more_than_one_wins_and_who_knows_is_right(faults in faults()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let objects = Faulty::new();
            let silences = faults.iter().filter(|fault| **fault == Fault::Silence).count();
            let mut faults = VecDeque::from(faults);
            objects.plan(move |_, _| faults.pop_front().unwrap_or(Fault::Nothing));
            let path = path();
            let (one, other) =
                tokio::join!(create(&*objects, &path, "one".into()), create(&*objects, &path, "other".into()));
            objects.plan(|_, _| Fault::Nothing);
            let there = read(&*objects, &path).await.ok();
            for (outcome, own) in [(one, "one"), (other, "other")] {
                let is_own = there.as_ref().map(|there| there == own);
                match outcome {
                    Ok(Written::ByUs) => assert_eq!(is_own, Some(true)),
                    Ok(Written::ByOthers) => assert_eq!(is_own, Some(false)),
                    Err(error) => {
                        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
                        assert!(silences >= 3, "given up after {silences}");
                    }
                }
            }
        });
    }
}
