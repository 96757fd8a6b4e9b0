//! What differs between two versions or revisions, found in them as JSON: whatever they come to hold is compared too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where it is: names, the outermost first.
    pub path: Vec<String>,
    /// `None`: it is on the other side alone.
    pub from: Option<Value>,
    pub to: Option<Value>,
}

/// All differences, in the order of names.
pub fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), Some(from), Some(to), &mut found);
    found
}

fn compare(path: &mut Vec<String>, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Difference>) {
    if from == to {
        return;
    }
    let (left, right) = (from.and_then(named), to.and_then(named));
    // What is named on one side alone, and not there on the other, is told name by name.
    let both_named = (left.is_some() || from.is_none()) && (right.is_some() || to.is_none());
    let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
    if !both_named || left.is_empty() && right.is_empty() {
        found.push(Difference { path: path.clone(), from: from.cloned(), to: to.cloned() });
        return;
    }
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let before = found.len();
    for name in names {
        path.push(name.to_owned());
        compare(path, left.get(name).copied(), right.get(name).copied(), found);
        path.pop();
    }
    // The same things in another order.
    if found.len() == before {
        found.push(Difference { path: path.clone(), from: from.cloned(), to: to.cloned() });
    }
}

/// The parts of a value that have names: of an object, or of a list of objects that say their names, each another one.
fn named(value: &Value) -> Option<BTreeMap<&str, &Value>> {
    match value {
        Value::Object(fields) => Some(fields.iter().map(|(name, value)| (name.as_str(), value)).collect()),
        Value::Array(items) if !items.is_empty() => {
            let parts = items.iter().map(|item| Some((name(item.as_object()?)?, item)));
            let parts: BTreeMap<_, _> = parts.collect::<Option<_>>()?;
            (parts.len() == items.len()).then_some(parts)
        }
        _ => None,
    }
}

fn name(fields: &Map<String, Value>) -> Option<&str> {
    ["name", "path"].iter().find_map(|key| fields.get(*key)?.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(from: &Value, to: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let told = differences(from, to).into_iter();
        told.map(|Difference { path, from, to }| (path.join(" "), from, to)).collect()
    }

    #[test]
    fn what_differs_is_told_where_it_is() {
        let from = json!({"limits": {"memory": 1, "timeout": 5}, "tags": ["a", "b"], "same": 1, "gone": {"x": 1}});
        let to = json!({"limits": {"memory": 2, "timeout": 5}, "tags": ["b"], "same": 1, "new": null});
        let expected = [
            ("gone x".to_owned(), Some(json!(1)), None),
            ("limits memory".to_owned(), Some(json!(1)), Some(json!(2))),
            ("new".to_owned(), None, Some(json!(null))),
            ("tags".to_owned(), Some(json!(["a", "b"])), Some(json!(["b"]))),
        ];
        assert_eq!(told(&from, &to), expected);
    }

    #[test]
    fn lists_of_what_has_names_are_compared_by_name() {
        let from = json!({"models": [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]});
        let to = json!({"models": [{"name": "b", "sha256": "3"}]});
        let expected = [
            ("models a name".to_owned(), Some(json!("a")), None),
            ("models a sha256".to_owned(), Some(json!("1")), None),
            ("models b sha256".to_owned(), Some(json!("2")), Some(json!("3"))),
        ];
        assert_eq!(told(&from, &to), expected);
        let (one, other) = (json!([{"name": "a"}, {"name": "b"}]), json!([{"name": "b"}, {"name": "a"}]));
        assert_eq!(told(&one, &other), [(String::new(), Some(one.clone()), Some(other.clone()))], "another order");
        let twice = json!([{"name": "a", "x": 1}, {"name": "a", "x": 2}]);
        assert_eq!(told(&json!([]), &twice).len(), 1, "no names tell them apart");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map("[ab]|name", inner, 0..3).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_is_none_exactly_where_both_are_the_same(from in value(), to in value()) {
            prop_assert_eq!(differences(&from, &to).is_empty(), from == to);
            prop_assert!(differences(&from, &from).is_empty());
        }
    }
}
