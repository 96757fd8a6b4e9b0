use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::*;
use crate::http::route::route;
use crate::protocol::kserve_v1;
use crate::protocol::oip_json::{self, Halves};
use crate::tensor::{Datatype, Signature, TensorSpec};

/// The document as clients see it.
fn document() -> Value {
    serde_json::from_slice(&DOCUMENT).expect("it is JSON")
}

/// Every operation: method, path, and what is said of it.
fn operations() -> Vec<(Method, String, Value)> {
    let document = document();
    let paths = document["paths"].as_object().expect("an object");
    let of_path = |(path, item): (&String, &Value)| {
        let item = item.as_object().expect("an object").clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| {
            let method = method.to_uppercase().parse().expect("paths have methods alone");
            (method, path.clone(), operation)
        })
    };
    paths.iter().flat_map(of_path).collect()
}

/// A path with something in each of its places.
fn filled(path: &str) -> String {
    path.replace(['{', '}'], "")
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let mut reached = BTreeSet::new();
    for (method, path, _) in operations() {
        let found = route(&method, &filled(&path)).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        reached.insert(name(&found));
    }
    assert_eq!(reached, ROUTES.iter().copied().collect());
}

#[test]
fn versions_are_asked_as_functions_are() {
    let operations = operations();
    let described = |path: &str| operations.iter().any(|(_, known, _)| known == path);
    for path in ["/infer", "/explain", "/ready", "/config", "/stats", ""] {
        assert!(described(&format!("/v2/models/{{model}}{path}")), "{path}");
        assert!(described(&format!("/v2/models/{{model}}/versions/{{version}}{path}")), "{path}");
    }
    for path in [":predict", ":explain", ""] {
        assert!(described(&format!("/v1/models/{{model}}/versions/{{version}}{path}")), "{path}");
    }
    assert!(!described("/v2/models/stats/versions/{version}"));
}

#[test]
fn parameters_are_those_of_the_path() {
    for (method, path, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described: Vec<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        let places = path.split('{').skip(1).map(|rest| rest.split('}').next().expect("it has a first part"));
        assert_eq!(described, places.collect::<Vec<_>>(), "{method} {path}");
    }
}

#[test]
fn names_are_unique_and_lead_somewhere() {
    let mut ids = HashSet::new();
    for (method, path, operation) in operations() {
        assert!(ids.insert(operation["operationId"].clone()), "{method} {path} has another's name");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
    }
    let document = document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(pointer) = value["$ref"].as_str() {
            assert!(document.pointer(&pointer[1..]).is_some(), "{pointer} leads nowhere");
        }
        match value {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(elements) => open.extend(elements),
            _ => {}
        }
    }
}

#[test]
fn examples_are_requests() {
    let image = TensorSpec { name: "image".into(), datatype: Datatype::Uint8, shape: vec![-1, 8, 8] };
    let signature = Signature { inputs: vec![image], outputs: vec![] };
    let infer = Bytes::from(examples::infer().to_string());
    let (request, _) = oip_json::parse_request("digits", &infer, None, Halves::Binary).unwrap();
    let v1 = kserve_v1::parse_request("digits", &signature, examples::v1().to_string().as_bytes()).unwrap();
    assert_eq!(v1.inputs, request.inputs);
    assert_eq!(request.inputs[0].1.shape(), [1, 8, 8]);
}
