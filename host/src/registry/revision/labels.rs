//! Labels: what people say of a version after its deploy, and take back again. Its content and its digest stay what they were.

use std::collections::BTreeMap;

use super::super::name::{LabelKey, LabelValue};
use super::super::timestamp::Timestamp;
use super::{Action, Revision, RevisionError};

/// All labels of a version.
pub type Labels = BTreeMap<LabelKey, LabelValue>;

/// What labels are to say; `None` takes one off. Those that are not named stay.
pub type LabelChange = BTreeMap<LabelKey, Option<LabelValue>>;

/// The most labels of a version: every revision has those of all versions, and is read whole.
pub(super) const MOST: usize = 64;

impl Revision {
    /// A version has other labels. `None`: it has them already.
    pub fn with_labels(
        &self,
        version: &str,
        change: &LabelChange,
        now: Timestamp,
    ) -> Result<Option<Self>, RevisionError> {
        let Some((name, record)) = self.versions.get_key_value(version) else {
            return Err(self.unknown_version(version));
        };
        let mut labels = record.labels.clone();
        for (key, value) in change {
            match value {
                Some(value) => drop(labels.insert(key.clone(), value.clone())),
                None => drop(labels.remove(key)),
            }
        }
        if labels.len() > MOST {
            let (function, version, count) = (self.function.clone(), name.clone(), labels.len());
            return Err(RevisionError::TooManyLabels { function, version, count });
        }
        if labels == record.labels {
            return Ok(None);
        }
        let mut next = self.next(Action::Labels { version: name.clone() }, now);
        if let Some(record) = next.versions.get_mut(version) {
            record.labels = labels;
        }
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{deploy, now, two};
    use super::*;

    fn change(labels: &[(&str, Option<&str>)]) -> LabelChange {
        labels.iter().map(|(key, value)| (key.parse().unwrap(), value.map(|value| value.parse().unwrap()))).collect()
    }

    fn labelled(revision: &Revision, labels: &[(&str, Option<&str>)]) -> Option<Revision> {
        revision.with_labels("1.9", &change(labels), now()).unwrap()
    }

    #[test]
    fn labels_are_put_on_changed_and_taken_off_one_revision_each() {
        let three = labelled(&two(), &[("team", Some("vision")), ("stage", Some("test")), ("none", None)]).unwrap();
        assert_eq!((three.revision, &three.action), (3, &Action::Labels { version: "1.9".parse().unwrap() }));
        let four = labelled(&three, &[("stage", Some("prod")), ("team", None)]).unwrap();
        let expected: Labels = [("stage".parse().unwrap(), "prod".parse().unwrap())].into();
        assert_eq!(four.versions["1.9"].labels, expected);
        assert_eq!((&four.versions["1.10"], &four.aliases), (&two().versions["1.10"], &two().aliases));
        assert_eq!(labelled(&four, &[("stage", Some("prod")), ("team", None)]), None);
        // The same content again, and aliases that go back, leave them alone.
        assert_eq!(deploy(&four, "1.9", "a", None), Ok(None));
        let back = deploy(&four, "1.9", "a", Some("live")).unwrap().unwrap().rolled_back(&two(), now()).unwrap();
        assert_eq!(back.versions, four.versions);
        let text = serde_json::to_string(&back).unwrap();
        assert!(text.contains(r#""labels":{"stage":"prod"}"#) && text.matches("labels").count() == 1, "{text}");
        assert_eq!(serde_json::from_str::<Revision>(&text).unwrap(), back);
    }

    #[test]
    fn there_are_not_too_many_and_only_of_what_is_there() {
        let many: LabelChange =
            (0..64).map(|n| (format!("l{n}").parse().unwrap(), Some("".parse().unwrap()))).collect();
        let full = two().with_labels("1.9", &many, now()).unwrap().unwrap();
        let error = full.with_labels("1.9", &change(&[("one-more", Some(""))]), now()).expect_err("it has 64");
        assert!(error.to_string().contains("would have 65 labels, and may have 64"), "{error}");
        assert!(labelled(&full, &[("one-more", Some("")), ("l0", None)]).is_some());
        let error = two().with_labels("live", &many, now()).expect_err("it is an alias");
        assert!(error.to_string().contains("function 'f' has versions 1.9, 1.10"), "{error}");
    }
}
